package procfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadPidfile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "svc.pid")
	write := func(text string, mode fs.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadPidfile(path); !errors.Is(err, fs.ErrNotExist) || err.Error() != path+": pidfile: open: no such file or directory" {
		t.Errorf("missing: %v", err)
	}
	for _, tt := range []struct {
		text string
		mode fs.FileMode
		pid  int
		want string
	}{
		{"42\n", 0o644, 42, ""},
		{"  7 ", 0o600, 7, ""},
		{"2147483647", 0o644, 1<<31 - 1, ""},
		{"2147483648", 0o644, 0, `want a process id, have "2147483648"`},
		{"", 0o644, 0, `want a process id, have ""`},
		{"0", 0o644, 0, `want a process id, have "0"`},
		{"-1", 0o644, 0, `want a process id, have "-1"`},
		{"1 2", 0o644, 0, `want a process id, have "1 2"`},
		{"1" + strings.Repeat(" ", 63), 0o644, 1, ""},
		{"1" + strings.Repeat(" ", 64), 0o644, 0, `want a process id, have "1` + strings.Repeat(" ", 19) + `"`},
		{"42", 0o666, 0, "writable for everybody"},
	} {
		write(tt.text, tt.mode)
		p, err := ReadPidfile(path)
		switch {
		case tt.want == "" && (err != nil || p.PID != tt.pid || p.UID != os.Geteuid()):
			t.Errorf("%q: %+v, %v", tt.text, p, err)
		case tt.want != "" && (err == nil || err.Error() != path+": pidfile: "+tt.want):
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
	write("42", 0o644)
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink(path, link), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	a, err := ReadPidfile(link)
	if err != nil || a.PID != 42 {
		t.Errorf("by a link: %+v, %v", a, err)
	}
	if _, err := ReadPidfile(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	// Replaced by the same text: another file, another mark.
	if err := errors.Join(os.WriteFile(path+".new", []byte("42"), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadPidfile(path); err != nil || b.Mark == a.Mark {
		t.Errorf("replaced: %+v, before %+v, %v", b, a, err)
	}
}

func FuzzPID(f *testing.F) {
	for _, s := range []string{"", "1", "42\n", " 42 ", "-1", "0", "4294967297", "x", "1 2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid, err := parsePID(b); err == nil && (pid < 1 || pid > 1<<31-1) {
			t.Errorf("%q: %d", b, pid)
		}
	})
}
