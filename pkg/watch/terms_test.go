package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
)

func TestParseOwner(t *testing.T) {
	for text, want := range map[string]string{
		"a=0": "", "a=1000": "", "a": "want ID=uid", "=5": "want ID=uid", "../a=5": "want ID=uid",
		"a=": "want a number", "a=-1": "want a number", "a=root": "want a number", "a=4294967295": "want a number",
	} {
		id, _, err := ParseOwner(text)
		if want == "" && (err != nil || id != "a") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %q, %v", text, id, err)
		}
	}
}

// TestOwner: the file of one id may belong to one user more, bare or not.
func TestOwner(t *testing.T) {
	gate.Need(t, "root")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.hb", "b.hb", "c"} {
		foreignFile(t, filepath.Join(dir, name))
		if err := os.Chown(filepath.Join(dir, name), 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Open(Options{
		Paths: []string{dir}, Bare: true, Owners: map[string]int{"a": 1234, "c": 1234},
		Emit: func(Event) {}, Log: &journal{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for id, want := range map[string]bool{"a": true, "b": false, "c": true} {
		var l Look
		w.readFile(&entry{id: id, bare: id == "c"}, &l)
		err := l.Err
		var rej *heartbeat.Reject
		if want && err != nil || !want && (!errors.As(err, &rej) || rej.Reason != heartbeat.ForeignOwner) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
