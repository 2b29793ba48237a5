package fifo

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClientNotServed(t *testing.T) {
	d := open(t)
	if _, err := Dial(nil, patience, d.Path(), "ctl", "p"); !errors.Is(err, ErrNotServed) {
		t.Errorf("no FIFO: %v", err)
	}
	if err := syscall.Mkfifo(d.Path()+"/ctl", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(nil, patience, d.Path(), "ctl", "p"); !errors.Is(err, ErrNotServed) {
		t.Errorf("no reader: %v", err)
	}
	if _, err := Dial(nil, patience, d.Path()+"/nowhere", "ctl", "p"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := errors.Join(os.WriteFile(d.Path()+"/file", nil, 0o600), os.Symlink("file", d.Path()+"/link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		if _, err := Dial(nil, patience, d.Path(), name, "p"); !errors.Is(err, errNotFIFO) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, _ := os.ReadFile(d.Path() + "/file"); len(b) > 0 {
		t.Errorf("written: %q", b)
	}
}

func TestClient(t *testing.T) {
	d := open(t)
	l := listen(t, d)
	answers, err := OpenReplies(d, "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	go func() {
		_ = l.Serve(func(line []byte, _ Fault) {
			name := strings.TrimPrefix(string(line), "ask ")
			answers.Send(name, []byte(name+" ok\n"), func(error) {})
		})
	}()
	c, err := Dial(nil, patience, d.Path(), "ctl", "p")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Write("ask " + c.ID()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != c.ID()+" ok\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	if err := c.Write(strings.Repeat("x", MaxLine-1)); err == nil {
		t.Error("a line over the limit was sent")
	}
	c.Close()
	if names, err := os.ReadDir(d.Path() + "/p"); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestClientEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(l *Listener, done chan struct{})
		time time.Duration
		want error
	}{
		{"server gone", func(l *Listener, _ chan struct{}) { l.Close() }, patience, ErrNotServed},
		{"interrupted", func(_ *Listener, done chan struct{}) { close(done) }, patience, ErrInterrupted},
		{"too late", func(*Listener, chan struct{}) {}, 20 * time.Millisecond, os.ErrDeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t)
			l := listen(t, d)
			if _, err := OpenReplies(d, "p", 0); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			c, err := Dial(done, tt.time, d.Path(), "ctl", "p")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tt.end(l, done)
			if _, err := c.Read(make([]byte, 10)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestClientFull: a FIFO that is full makes the writer wait, and give up.
func TestClientFull(t *testing.T) {
	d := open(t)
	listen(t, d)
	if _, err := OpenReplies(d, "p", 0); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(nil, 200*time.Millisecond, d.Path(), "ctl", "p")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for err == nil {
		err = c.Write(strings.Repeat("x", 4000))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestStop: nobody new comes, and who has come waits for his answer until Close.
func TestStop(t *testing.T) {
	d := open(t)
	l := listen(t, d)
	answers, err := OpenReplies(d, "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	r := serve(t, l)
	c, err := Dial(nil, patience, d.Path(), "ctl", "p")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Write("one"); err != nil {
		t.Fatal(err)
	}
	r.await(t, "one")
	if err := errors.Join(l.Stop(), l.Stop()); err != nil {
		t.Error(err)
	}
	until(t, "Serve returned", func() bool { return len(r.done) == 1 })
	if healed, err := l.Heal(); healed || err != nil {
		t.Errorf("healed %t, %v", healed, err)
	}
	if _, err := Dial(nil, patience, d.Path(), "ctl", "p"); !errors.Is(err, ErrNotServed) {
		t.Errorf("another client: %v", err)
	}
	if err := c.Write("two"); err != nil {
		t.Errorf("still connected: %v", err)
	}
	answers.Send(c.ID(), []byte("yes\n"), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 8)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "yes\n" {
		t.Errorf("the answer that was there before the end: %q, %v", buf[:n], err)
	}
	if _, err := c.Read(buf); !errors.Is(err, ErrNotServed) {
		t.Errorf("afterwards: %v", err)
	}
	if got := r.all(); got != "one" {
		t.Errorf("read: %s", got)
	}
}
