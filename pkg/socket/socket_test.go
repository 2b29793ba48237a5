package socket

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/rundir"
)

const patience = 5 * time.Minute

func open(t *testing.T) *rundir.Dir {
	t.Helper()
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// echo answers each client with its uid and what it said; it ends with the
// Listener.
func echo(t *testing.T, l *Listener) {
	t.Helper()
	over := make(chan error, 1)
	go func() {
		for {
			conn, uid, err := l.Accept()
			if err != nil {
				over <- err
				return
			}
			text, _ := io.ReadAll(conn)
			if uid == os.Geteuid() {
				_, _ = conn.Write(append([]byte("mine "), text...))
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-over:
			if !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Accept does not end")
		}
		if _, err := os.Lstat(l.path()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left: %v", err)
		}
	})
}

func ask(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := Dial(path, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteString(text); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestSocket(t *testing.T) {
	d := open(t)
	if _, err := Dial(d.Path(), "s"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	l, err := Listen(d, "s", 0o640, 0)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if info, err := os.Lstat(d.Path() + "/s"); err != nil || info.Mode() != os.ModeSocket|0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if got := ask(t, d.Path(), "hello"); got != "mine hello" {
		t.Errorf("%q", got)
	}
	if healed, err := l.Heal(); healed || err != nil {
		t.Errorf("Heal: %v, %v", healed, err)
	}
	// Replaced by a file: found, and replaced in turn, while Accept waits.
	if err := errors.Join(os.Remove(d.Path()+"/s"), os.WriteFile(d.Path()+"/s", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if healed, err := l.Heal(); !healed || err != nil {
		t.Errorf("Heal: %v, %v", healed, err)
	}
	if got := ask(t, d.Path(), "again"); got != "mine again" {
		t.Errorf("%q", got)
	}
	if names, err := d.Names(); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}

// TestLongPath: a path may be longer than an address has room for.
func TestLongPath(t *testing.T) {
	d := open(t)
	path := d.Path() + "/" + strings.Repeat("x", 200)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	long, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { long.Close() })
	l, err := Listen(long, "s", 0o600, 0)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if got := ask(t, path, "x"); got != "mine x" {
		t.Errorf("%q", got)
	}
}

// TestLeftBehind: the socket of a server that was killed.
func TestLeftBehind(t *testing.T) {
	d := open(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: address(d.Fd(), "s")}); err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd)
	if _, err := Dial(d.Path(), "s"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	l, err := Listen(d, "s", 0o600, 0)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if got := ask(t, d.Path(), "x"); got != "mine x" {
		t.Errorf("%q", got)
	}
}

func TestListenRefuses(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"file":    func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"symlink": func(p string) error { return os.Symlink("/etc/passwd", p) },
		"FIFO":    func(p string) error { return syscall.Mkfifo(p, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			if err := plant(d.Path() + "/s"); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(d.Path() + "/s")
			l, err := Listen(d, "s", 0o600, 0)
			if err == nil {
				l.Close()
				t.Fatal("served")
			}
			if err.Error() != d.Path()+"/s: not a socket: remove it" {
				t.Error(err)
			}
			if after, err := os.Lstat(d.Path() + "/s"); err != nil || !os.SameFile(before, after) {
				t.Errorf("touched: %v", err)
			}
		})
	}
}
