package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestStat: the same as a read says of a regular file, and of no other.
func TestStat(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Write("file", []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(path, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, want, err := d.Read("file", 10)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Stat("file"); err != nil || got != want {
		t.Errorf("have %+v, %v\nwant %+v", got, err, want)
	}
	for name, want := range map[string]error{"none": fs.ErrNotExist, "link": ErrNotRegular, "dir": ErrNotRegular, "../x": fs.ErrInvalid} {
		if _, err := d.Stat(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
