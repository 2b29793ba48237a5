package fifo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestHeal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replace func(path string) error
	}{
		{"removed", os.Remove},
		{"renamed", func(p string) error { return os.Rename(p, p+".away") }},
		{"regular file", func(p string) error { return errors.Join(os.Remove(p), os.WriteFile(p, []byte("dump\n"), 0o600)) }},
		{"other FIFO", func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) }},
		{"symbolic link", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/dev/null", p)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t)
			path := d.Path() + "/ctl"
			l := listen(t, d)
			r := serve(t, l)
			if healed, err := l.Heal(); healed || err != nil {
				t.Fatalf("healed %v, %v: nothing was wrong", healed, err)
			}
			put(t, path, "before\nhalf")
			if err := tt.replace(path); err != nil {
				t.Fatal(err)
			}
			if healed, err := l.Heal(); !healed || err != nil {
				t.Fatalf("healed %v, %v", healed, err)
			}
			put(t, path, "after\n")
			r.await(t, "before|fault 2|after")
			if healed, err := l.Heal(); healed || err != nil {
				t.Fatalf("healed again: %v, %v", healed, err)
			}
		})
	}
}

// TestHealOften: nothing that was written whole into a FIFO that was in
// place is lost, however often it is replaced.
func TestHealOften(t *testing.T) {
	d := open(t)
	path := d.Path() + "/ctl"
	l := listen(t, d)
	r := serve(t, l)
	var want []string
	for i := range 50 {
		line := fmt.Sprintf("line-%d", i)
		want = append(want, line)
		put(t, path, line+"\n")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if healed, err := l.Heal(); !healed || err != nil {
			t.Fatalf("healed %v, %v", healed, err)
		}
	}
	r.await(t, strings.Join(want, "|"))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	until(t, "one FIFO open at most", func() bool { return pipes(t) == 0 })
}

// pipes counts our open FIFOs that have no name any more.
func pipes(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasSuffix(to, "/ctl (deleted)") {
			n++
		}
	}
	return n
}

func TestHealRefused(t *testing.T) {
	d := open(t)
	path := d.Path() + "/ctl"
	l := listen(t, d)
	r := serve(t, l)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if healed, err := l.Heal(); healed || err == nil || !strings.HasPrefix(err.Error(), path+": mkfifo: ") {
		t.Errorf("healed %v, %v", healed, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if healed, err := l.Heal(); !healed || err != nil {
		t.Errorf("healed %v, %v", healed, err)
	}
	put(t, path, "ping\n")
	r.await(t, "ping")
	if names, _ := d.Names(); len(names) != 1 {
		t.Errorf("left: %q", names)
	}
}
