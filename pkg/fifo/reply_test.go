package fifo

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
)

func replies(t *testing.T) *Replies {
	t.Helper()
	r, err := OpenReplies(open(t), "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// send waits for what becomes of an answer.
func send(t *testing.T, r *Replies, name string, answer []byte) error {
	t.Helper()
	done := make(chan error, 1)
	r.Send(name, answer, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("no outcome")
		return nil
	}
}

// client makes a reply FIFO and opens it as clients do.
func client(t *testing.T, r *Replies, name string) *os.File {
	t.Helper()
	path := r.dir.Name() + "/" + name
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReply(t *testing.T) {
	r := replies(t)
	info, err := os.Stat(r.dir.Name())
	if err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|os.ModeSticky|0o730 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	short := client(t, r, "short")
	if err := send(t, r, "short", []byte("x ok\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := short.Read(buf); err != nil || string(buf[:n]) != "x ok\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}

	long := client(t, r, "long")
	answer := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, len(answer))
		_, _ = io.ReadFull(long, b)
		got <- b
	}()
	if err := send(t, r, "long", answer); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, answer) {
		t.Error("a MiB came out different")
	}
}

func TestReplyRefuses(t *testing.T) {
	r := replies(t)
	dir := r.dir.Name()
	victim := t.TempDir() + "/victim"
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	client(t, r, "linked")
	for _, err := range []error{
		os.Symlink(victim, dir+"/link"),
		os.WriteFile(dir+"/regular", []byte("precious"), 0o600),
		os.Mkdir(dir+"/dir", 0o700),
		syscall.Mkfifo(dir+"/unread", 0o600),
		os.Link(dir+"/linked", dir+"/second"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		want error
	}{
		{"missing", ErrNobody},
		{"unread", ErrNobody},
		{"link", ErrClient},
		{"regular", ErrClient},
		{"dir", ErrClient},
		{"second", ErrClient},
		{"../victim", ErrClient},
		{"..", ErrClient},
		{"", ErrClient},
	} {
		if err := send(t, r, tt.name, []byte("x ok\n")); !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, path := range []string{victim, dir + "/regular"} {
		if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
}

func TestReplyRefusesForeign(t *testing.T) {
	gate.Need(t, "root")
	r := replies(t)
	client(t, r, "foreign")
	path := r.dir.Name() + "/foreign"
	if err := os.Chown(path, 65534, 65533); err != nil {
		t.Fatal(err)
	}
	if err := send(t, r, "foreign", []byte("x ok\n")); !errors.Is(err, ErrClient) {
		t.Error(err)
	}
	// A member of the directory's group is a client.
	if err := os.Chown(path, 65534, int(r.group)); err != nil {
		t.Fatal(err)
	}
	if err := send(t, r, "foreign", []byte("x ok\n")); err != nil {
		t.Error(err)
	}
}

// TestReplySlow: clients that do not read cost the server a bounded number of
// goroutines for a bounded time, and never wait for each other.
func TestReplySlow(t *testing.T) {
	r := replies(t)
	answer := make([]byte, 1<<20)
	outcome := make(chan error, writers)
	for i := range writers {
		name := "slow" + string(rune('a'+i))
		client(t, r, name)
		r.Send(name, answer, func(err error) { outcome <- err })
	}
	for range writers {
		select {
		case err := <-outcome:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("an answer hangs")
		}
	}
	// As many are being written as may.
	for range writers {
		r.slots <- struct{}{}
	}
	client(t, r, "many")
	if err := send(t, r, "many", answer); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	client(t, r, "quick")
	if err := send(t, r, "quick", []byte("x ok\n")); err != nil {
		t.Error(err)
	}
	for range writers {
		<-r.slots
	}
}

func TestReplySweep(t *testing.T) {
	r := replies(t)
	dir := r.dir.Name()
	client(t, r, "live")
	if err := errors.Join(syscall.Mkfifo(dir+"/dead", 0o600), os.WriteFile(dir+"/regular", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	left := func() string {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	if err := r.Sweep(time.Hour); err != nil || left() != "dead live regular" {
		t.Errorf("young: %q, %v", left(), err)
	}
	if err := r.Sweep(0); err != nil || left() != "live regular" {
		t.Errorf("old: %q, %v", left(), err)
	}
}

func TestSubdirRefuses(t *testing.T) {
	d := open(t)
	if err := os.Symlink("/tmp", d.Path()+"/p"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReplies(d, "p", 0); err == nil || !strings.Contains(err.Error(), "/p: open directory: ") {
		t.Error(err)
	}
	if err := os.WriteFile(d.Path()+"/q", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReplies(d, "q", 0); err == nil {
		t.Error("a regular file was opened as a directory")
	}
}
