package crash

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

// tally is how often one program of one user crashed within a window. It stands
// in a file beside the captures, which is also the lock on it.
//
// Of the crashes of a window the first and the last are kept, for the first is
// the cause of the others and the last is what goes on. So each replaces the one
// before it, the first apart, and of those that come while another one is being
// saved all but the newest are only counted.
type tally struct {
	Boot  string
	Since time.Duration // CLOCK_BOOTTIME of the first crash
	Count int64
	Last  string // base name of the last capture that may be replaced; "" if none
}

const (
	tallySuffix = ".crashes"
	turnSuffix  = ".turn" // behind it: the lock of who saves
)

// tallyName is the file for a program of a user.
func tallyName(program string, uid int) string {
	return program + "_" + strconv.Itoa(uid) + tallySuffix
}

func (t *tally) append(b []byte) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Str("boot", t.Boot)
	w.Int("since_bt_ms", t.Since.Milliseconds())
	w.Int("count", t.Count)
	w.Str("last", t.Last)
	w.End()
	return append(append(b, w.Bytes()...), '\n')
}

// parseTally reads what append wrote. Anything else is no tally, and the count
// begins anew.
func parseTally(b []byte) (t tally, err error) {
	err = jsonline.Parse(b, func(key string, v jsonline.Value) (err error) {
		var ms int64
		switch key {
		case "boot":
			t.Boot, err = v.Str()
		case "since_bt_ms":
			ms, err = v.Int()
			t.Since = time.Duration(ms) * time.Millisecond
		case "count":
			t.Count, err = v.Int()
		case "last":
			t.Last, err = v.Str()
		}
		return err
	})
	if err == nil && (t.Count < 0 || t.Since < 0 || strings.ContainsAny(t.Last, "/\x00")) {
		err = errors.New("not a tally")
	}
	return t, err
}

// enter counts a crash at now in boot and gives its number within the window.
func (t *tally) enter(boot string, now, window time.Duration) int64 {
	if t.Boot != boot || now-t.Since >= window || now < t.Since {
		*t = tally{Boot: boot, Since: now}
	}
	t.Count++
	return t.Count
}

// leave notes that the crash of that number was saved as base, and gives the
// capture that it replaces.
func (t *tally) leave(number int64, base string) (replaced string) {
	if number == 1 {
		return ""
	}
	replaced, t.Last = t.Last, base
	return replaced
}

// turn is the right to save one crash, one at a time for a program of a user.
type turn struct {
	dir    *rundir.Dir
	name   string
	writer *os.File // its lock lets one save at a time
	number int64    // of the crash within its window
}

// take counts a crash and waits until it may be saved. mine is false when a newer
// one waits behind it: then it was counted, and that is all.
func take(dir *rundir.Dir, name, boot string, window time.Duration, now func() time.Duration) (t *turn, mine bool, err error) {
	t = &turn{dir: dir, name: name}
	err = t.update(func(y *tally) { t.number = y.enter(boot, now(), window) })
	if err != nil {
		return nil, false, err
	}
	for mine = true; mine; time.Sleep(lookAround) {
		t.writer, err = t.lock(name+turnSuffix, syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			return nil, false, err
		}
		if t.number > 1 {
			err = t.update(func(y *tally) { mine = y.Count == t.number })
		}
		if t.writer != nil && err == nil && mine {
			return t, true, nil
		}
		if t.writer != nil {
			t.writer.Close()
		}
		if err != nil {
			return nil, false, err
		}
	}
	return t, false, nil
}

// lookAround is how often one that waits looks whether a newer one does: it would
// not wait for nothing, for of those whose cores are taken the kernel lets be only
// so many at once, of all programs together.
const lookAround = 20 * time.Millisecond

// done tells that the crash was saved as base, "" if it was not, and lets the next
// one have its turn. The capture that it replaces is named.
func (t *turn) done(base string) (replaced string, err error) {
	defer t.writer.Close()
	if base == "" {
		return "", nil
	}
	err = t.update(func(y *tally) { replaced = y.leave(t.number, base) })
	return replaced, err
}

// update changes the tally under its lock.
func (t *turn) update(change func(y *tally)) error {
	f, err := t.lock(t.name, syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1024)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("%s/%s: read: %w", t.dir.Path(), t.name, cause0(err))
	}
	y, perr := parseTally(b[:n])
	if perr != nil {
		y = tally{}
	}
	change(&y)
	// In place: its inode is the lock.
	text := y.append(nil)
	if len(text) > len(b) {
		return fmt.Errorf("%s/%s: longer than %d bytes", t.dir.Path(), t.name, len(b))
	}
	text = append(text[:len(text)-1], strings.Repeat(" ", max(0, n-len(text)))...)
	text = append(text, '\n')
	if string(text) == string(b[:n]) {
		return nil
	}
	if _, err = f.WriteAt(text, 0); err != nil {
		return fmt.Errorf("%s/%s: write: %w", t.dir.Path(), t.name, cause0(err))
	}
	return nil
}

// sweep removes the tallies of programs that have not crashed for long, at least
// a window: whoever likes can let programs of any name crash.
func sweep(dir *rundir.Dir, window time.Duration, now time.Time) {
	names, _ := dir.Names()
	t := &turn{dir: dir}
	for _, name := range names {
		if !strings.HasSuffix(strings.TrimSuffix(name, turnSuffix), tallySuffix) {
			continue
		}
		info, err := dir.Stat(name)
		if err != nil || now.Sub(info.ModTime) < max(window, leastAge) {
			continue
		}
		if f, err := t.lock(name, syscall.LOCK_EX|syscall.LOCK_NB); err == nil && f != nil {
			_ = dir.Remove(name)
			f.Close()
		}
	}
}

const leastAge = time.Hour

// lock opens a file of its own and locks it, how as flock(2) has it. It is nil when
// another one has the lock and how says not to wait.
func (t *turn) lock(name string, how int) (*os.File, error) {
	for {
		f, _, err := t.dir.OpenFile(name, os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) {
			err = t.dir.Create(name, []byte("{}\n"), 0o600)
			if err == nil || errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		for {
			err = syscall.Flock(int(f.Fd()), how)
			if err != syscall.EINTR {
				break
			}
		}
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Fstat(int(f.Fd()), &st)
		}
		switch {
		case err == syscall.EWOULDBLOCK:
			f.Close()
			return nil, nil
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("%s/%s: lock: %w", t.dir.Path(), name, err)
		case st.Nlink == 0: // swept meanwhile
			f.Close()
			continue
		}
		return f, nil
	}
}

// cause0 is what is wrong without the name of the file.
func cause0(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
