package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
)

func content(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s: %q, %v; want %q", filepath.Base(path), b, err, want)
	}
}

func put(t *testing.T, j *File, line string) {
	t.Helper()
	if n, err := j.Write([]byte(line)); err != nil || n != len(line) {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestAppendAndReopen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	put(t, j, "one\n")
	content(t, path, "old\none\n")
	if err := j.Reopen(); err != nil { // nothing was moved
		t.Fatal(err)
	}
	put(t, j, "two\n")
	content(t, path, "old\none\ntwo\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	put(t, j, "three\n")
	if err := j.Reopen(); err != nil {
		t.Fatal(err)
	}
	put(t, j, "four\n")
	content(t, path+".1", "old\none\ntwo\nthree\n")
	content(t, path, "four\n")

	// A second one is kept out, here and after a rotation; the first goes on.
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "somebody else writes it") {
		t.Errorf("a second writer: %v", err)
	}
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := j.Reopen(); err == nil || err.Error() != path+": open: not a regular file" {
		t.Errorf("a directory in its place: %v", err)
	}
	put(t, j, "five\n")
	content(t, path+".2", "four\nfive\n")
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, fifo, dir, "/dev/null"} {
		if _, err := Open(path); err == nil || err.Error() != path+": open: not a regular file" {
			t.Errorf("%v", err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none/log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestFullDisk: of what does not fit, nothing stays; then it goes on.
func TestFullDisk(t *testing.T) {
	gate.Need(t, "tmpfs")
	dir := t.TempDir()
	if err := syscall.Mount("vigil", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	path := filepath.Join(dir, "log")
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	put(t, j, "one\n")
	if n, err := j.Write([]byte(strings.Repeat("x", 1<<16) + "\n")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d bytes, %v", n, err)
	}
	content(t, path, "one\n")
	put(t, j, "two\n")
	content(t, path, "one\ntwo\n")
}
