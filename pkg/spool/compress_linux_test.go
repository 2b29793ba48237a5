package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCompress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.core")
	text := bytes.Repeat([]byte("text "), 20000)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Compress(path); err != nil {
		t.Fatal(err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"a.core.gz"}) {
		t.Errorf("files %q", got)
	}
	if out, err := exec.Command("gzip", "-dc", path+".gz").Output(); err != nil || !bytes.Equal(out, text) {
		t.Errorf("%d bytes of %d, %v", len(out), len(text), err)
	}
}

// A core can be all holes: 8 EiB of them would keep gzip busy for centuries, and
// fill the disk with what they compress to.
func TestCompressHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.core")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := Compress(path); err == nil || !strings.Contains(err.Error(), "would be larger") {
		t.Errorf("error %v", err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"a.core"}) {
		t.Errorf("files %q", got)
	}
}

// What is removed while it is compressed leaves nothing.
func TestCompressRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.core")
	// gzip waits for the end of a FIFO: the file goes before that.
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Compress(path) }()
	_, err = w.Write(make([]byte, 1<<20)) // more than a pipe holds: it is being read
	if err == nil {
		err = os.Remove(path)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if got := names(t, filepath.Dir(path)); len(got) > 0 {
		t.Errorf("files %q", got)
	}
}
