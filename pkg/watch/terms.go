package watch

import (
	"os"
	"strconv"
	"strings"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

// ParseOwner reads "ID=uid".
func ParseOwner(s string) (id string, uid int, err error) {
	id, text, ok := strings.Cut(s, "=")
	if !ok || !heartbeat.ValidID(id) {
		return "", 0, fmt.Errorf("%q: want ID=uid, the id 1 to 64 of A-Za-z0-9._- not starting with . or -", s)
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "", 0, fmt.Errorf("uid %q: want a number", text)
	}
	return id, int(n), nil
}

// keyring finds the key of each id: one for all of them, or ID.key in a
// directory, read when the id is first seen.
type keyring struct {
	path string
	all  *heartbeat.Key
	ids  map[string]*heartbeat.Key
}

// openKeys reads the key, if path is one, so that a bad one is told at once.
func openKeys(path string) (*keyring, error) {
	k := &keyring{path: path, ids: map[string]*heartbeat.Key{}}
	st, err := os.Stat(path)
	if err == nil && st.IsDir() {
		return k, nil
	}
	k.all, err = heartbeat.LoadKey(path, "")
	return k, err
}

// key gives the key of an id. A missing one is looked for again next time.
func (k *keyring) key(id string) (*heartbeat.Key, error) {
	if k.all != nil {
		return k.all, nil
	}
	if key := k.ids[id]; key != nil {
		return key, nil
	}
	key, err := heartbeat.LoadKey(k.path, id)
	if err == nil {
		k.ids[id] = key
	}
	return key, err
}

// terms are what is granted to e, and demanded of it.
func (w *Watcher) terms(e *entry) (*heartbeat.Terms, error) {
	t := &w.granted
	*t = heartbeat.Terms{}
	if len(w.opt.Owners) > 0 {
		t.Owner = w.opt.Owners[e.id]
	}
	if w.keys != nil {
		key, err := w.keys.key(e.id)
		if err != nil {
			// The fault is on this side: nobody is silent because of it.
			return nil, &heartbeat.Reject{Reason: heartbeat.Unreadable, Detail: err.Error()}
		}
		t.Verify = key.Verify
	}
	return t, nil
}
