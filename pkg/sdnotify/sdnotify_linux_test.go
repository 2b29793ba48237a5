package sdnotify

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen binds a datagram socket and gives what it gets.
func listen(t *testing.T, name string) (receive func() string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return func() string {
		b := make([]byte, 4096)
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
}

func TestSend(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{filepath.Join(dir, "notify"), "@vigil/test/" + strconv.Itoa(os.Getpid())} {
		s, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		// Nobody is there yet; then somebody is, and goes, and another one comes.
		if err := s.Send("READY=1"); err == nil || !strings.HasPrefix(err.Error(), "NOTIFY_SOCKET: send to "+name+": ") {
			t.Errorf("%s: %v", name, err)
		}
		receive := listen(t, name)
		for _, text := range []string{"READY=1\nSTATUS=a b\n", "WATCHDOG=1\n"} {
			if err := s.Send(text); err != nil {
				t.Error(err)
			}
			if got := receive(); got != text {
				t.Errorf("%s: got %q, want %q", name, got, text)
			}
		}
		// One that does not read must not keep us waiting.
		for range 10_000 {
			if err = s.Send("WATCHDOG=1\n"); err != nil {
				break
			}
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: %v, want EAGAIN", name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"": "NOTIFY_SOCKET is not set", "notify": `NOTIFY_SOCKET: "notify": want a path or @NAME`, "@": `NOTIFY_SOCKET: "@": want`, "vsock:2:1": "want a path or @NAME",
		"/" + strings.Repeat("x", 107): "too long",
	} {
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
	s, err := Open("/" + strings.Repeat("x", 106)) // the longest that there is
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send("x"); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		usec, of string
		pid      int
		want     time.Duration
		err      string
	}{
		{"", "", 7, 0, ""}, {"", "x", 7, 0, ""}, {"2000000", "", 7, 2 * time.Second, ""}, {"2000000", "7", 7, 2 * time.Second, ""},
		{"2000000", "8", 7, 0, ""}, {"2000000", "8", 0, 2 * time.Second, ""}, {"0", "7", 7, 0, ""},
		{"x", "", 7, 0, `WATCHDOG_USEC: "x": want microseconds`}, {"-1", "", 7, 0, "want microseconds"}, {"9223372036854776", "", 7, 0, "want microseconds"},
		{"2000000", "x", 7, 0, `WATCHDOG_PID: "x": want a process`}, {"2000000", "0", 7, 0, "want a process"},
	} {
		got, err := Watch(tt.usec, tt.of, tt.pid)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q %q %d: %s, %v", tt.usec, tt.of, tt.pid, got, err)
		}
	}
}
