package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func trusted(t *testing.T) (*Dir, string) {
	t.Helper()
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func TestDisplace(t *testing.T) {
	d, path := trusted(t)
	text := func(name string) string {
		b, _, _ := d.Read(name, 100)
		return string(b)
	}
	is := func(want string) func(string) bool {
		return func(tmp string) bool {
			if text("x") == "" && want != "" {
				t.Error("nothing is there meanwhile")
			}
			return text(tmp) == want
		}
	}
	if err := d.Displace("x", []byte("one"), 0o644, is("")); err != nil || text("x") != "one" {
		t.Errorf("nothing there: %q, %v", text("x"), err)
	}
	if err := d.Displace("x", []byte("two"), 0o644, is("one")); err != nil || text("x") != "two" {
		t.Errorf("stale: %q, %v", text("x"), err)
	}
	if err := d.Displace("x", []byte("three"), 0o644, is("one")); !errors.Is(err, fs.ErrExist) || text("x") != "two" {
		t.Errorf("not stale any more: %q, %v", text("x"), err)
	}
	if err := os.Mkdir(filepath.Join(path, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Displace("dir", []byte("x"), 0o644, func(string) bool { return true }); err == nil {
		t.Error("a directory was displaced")
	}
	names, err := d.Names()
	if err != nil || len(names) != 2 {
		t.Errorf("left: %q, %v", names, err)
	}
}

func TestSweep(t *testing.T) {
	d, path := trusted(t)
	now := time.Now()
	for name, age := range map[string]time.Duration{
		".tmp.12.3.a.hb": 2 * time.Hour, ".tmp.12.4.b.hb": time.Minute, ".tmp.x.4.c": 2 * time.Hour,
		".tmp.12.c": 2 * time.Hour, ".tmp.a.hb,uuid": 2 * time.Hour, "a.hb": 2 * time.Hour, ".tmp.1.2.": 2 * time.Hour,
	} {
		file := filepath.Join(path, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Chtimes(file, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.hb", filepath.Join(path, ".tmp.1.1.link")); err != nil {
		t.Fatal(err)
	}
	d.Sweep(now)
	names, err := d.Names()
	if err != nil || len(names) != 7 {
		t.Errorf("left: %q, %v", names, err)
	}
	if _, err := d.Stat(".tmp.12.3.a.hb"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover: %v", err)
	}
}
