package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestKeep(t *testing.T) {
	_, path := trusted(t)
	dir := filepath.Join(path, "run")
	mkdir := func() {
		t.Helper()
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	file := filepath.Join(dir, "state")
	k, err := OpenKeep(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { k.Close() }()
	if _, err := k.Read(100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing kept yet: %v", err)
	}
	if _, err := OpenKeep(file); !errors.Is(err, ErrInUse) || err.Error() != file+": another process uses it" {
		t.Errorf("a second one: %v", err)
	}
	if err := k.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, ".tmp.1.2.state")
	past := time.Now().Add(-2 * time.Hour)
	if err := errors.Join(os.WriteFile(old, nil, 0o600), os.Chtimes(old, past, past)); err != nil {
		t.Fatal(err)
	}
	k.Close()
	if k, err = OpenKeep(file); err != nil {
		t.Fatal(err)
	}
	if b, err := k.Read(100); err != nil || string(b) != "one" {
		t.Errorf("opened again: %q, %v", b, err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed one left: %v", err)
	}
	// The directory is removed, and made again.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := k.Write([]byte("two")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	mkdir()
	if err := k.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeep(file); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one, later: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "three" {
		t.Errorf("%q, %v", b, err)
	}
}
