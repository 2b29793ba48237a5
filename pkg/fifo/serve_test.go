package fifo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/rundir"
)

// patience bounds every wait for something that has to happen.
const patience = 5 * time.Minute

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

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

// record serves l and keeps what comes.
type record struct {
	mu    sync.Mutex
	lines []string
	done  chan error
}

func serve(t *testing.T, l *Listener) *record {
	t.Helper()
	r := &record{done: make(chan error, 1)}
	go func() {
		r.done <- l.Serve(func(line []byte, fault Fault) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if fault != Sound {
				line = fmt.Appendf(nil, "fault %d", fault)
			}
			r.lines = append(r.lines, string(line))
		})
	}()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-r.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *record) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "|")
}

func (r *record) await(t *testing.T, want string) {
	t.Helper()
	until(t, fmt.Sprintf("%q of %q", want, r.all()), func() bool { return r.all() == want })
}

func listen(t *testing.T, d *rundir.Dir) *Listener {
	t.Helper()
	l, err := Listen(d, "ctl", 0o620, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// put writes as a shell's printf >FIFO does, but fails instead of waiting.
func put(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	d := open(t)
	old := syscall.Umask(0o077)
	l := listen(t, d)
	syscall.Umask(old)
	path := d.Path() + "/ctl"
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeNamedPipe|0o620 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	r := serve(t, l)
	put(t, path, "one\n")
	put(t, path, "\ntwo\nthree\n")
	r.await(t, "one|two|three")
	put(t, path, "half")
	r.await(t, "one|two|three|fault 2")
	put(t, path, "four\n"+strings.Repeat("x", 60000)+"tail\nfive\n") // what a pipe takes at once
	r.await(t, "one|two|three|fault 2|four|fault 1|five")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	if names, _ := d.Names(); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
}

// TestStale: what lies in the FIFO of a dead server is not run, and whoever
// waits for a reader of it is not kept waiting.
func TestStale(t *testing.T) {
	d := open(t)
	path := d.Path() + "/ctl"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	keep, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, "quit\n")
	l := listen(t, d)
	r := serve(t, l)
	put(t, path, "ping\n")
	r.await(t, "ping")
	keep.Close()
}

func TestStaleOpener(t *testing.T) {
	d := open(t)
	path := d.Path() + "/ctl"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // as a shell does
		if err == nil {
			_, err = f.WriteString("quit\n")
			f.Close()
		}
		written <- err
	}()
	until(t, "somebody waits in open(2)", func() bool { return waitsInOpen(t) })
	l := listen(t, d)
	r := serve(t, l)
	select {
	case <-written: // into the void, or EPIPE
	case <-time.After(patience):
		t.Fatal("the writer still waits for a reader")
	}
	put(t, path, "ping\n")
	r.await(t, "ping")
}

// waitsInOpen looks for a thread of ours in fifo_open or wait_for_partner.
func waitsInOpen(t *testing.T) bool {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/wchan")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		if s := string(b); strings.Contains(s, "fifo_open") || strings.Contains(s, "wait_for_partner") {
			return true
		}
	}
	return false
}

func TestListenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		plant      func(path string) error
	}{
		{"regular file", "not a FIFO", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }},
		{"symbolic link", "not a FIFO", func(p string) error {
			target := p + ".target"
			return errors.Join(syscall.Mkfifo(target, 0o600), os.Symlink(target, p))
		}},
		{"dangling link", "not a FIFO", func(p string) error { return os.Symlink("/nowhere", p) }},
		{"directory", "not a FIFO", func(p string) error { return os.Mkdir(p, 0o700) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t)
			path := d.Path() + "/ctl"
			if err := tt.plant(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			l, err := Listen(d, "ctl", 0o620, 0)
			if err == nil {
				l.Close()
				t.Fatal("served")
			}
			if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Error(err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was touched: %v", err)
			}
		})
	}
}

func TestListenRefusesForeign(t *testing.T) {
	gate.Need(t, "root")
	d := open(t)
	path := d.Path() + "/ctl"
	if err := errors.Join(syscall.Mkfifo(path, 0o666), os.Chown(path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(d, "ctl", 0o620, 0); err == nil || !strings.Contains(err.Error(), "FIFO belongs to uid 65534") {
		t.Error(err)
	}
}

func TestCloseLeavesOthers(t *testing.T) {
	d := open(t)
	path := d.Path() + "/ctl"
	l := listen(t, d)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if healed, err := l.Heal(); healed || err != nil {
		t.Errorf("after Close: healed %v, %v", healed, err)
	}
}

// TestUnlock: of those who lock at the same time as others remove the lock, one
// has it.
func TestUnlock(t *testing.T) {
	d := open(t)
	var holders, taken atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				f, err := Lock(d)
				if errors.Is(err, ErrServed) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				taken.Add(1)
				holders.Add(-1)
				err = Unlock(d)
				f.Close()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if names, err := d.Names(); err != nil || len(names) != 0 || taken.Load() == 0 {
		t.Errorf("left %q %v; taken %d times", names, err, taken.Load())
	}
}

func TestLock(t *testing.T) {
	d := open(t)
	first, err := Lock(d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(d)
	if want := fmt.Sprintf("%s/lock: served already by pid %d", d.Path(), os.Getpid()); !errors.Is(err, ErrServed) || err.Error() != want {
		t.Errorf("have %v\nwant %s", err, want)
	}
	first.Close()
	again, err := Lock(d)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := errors.Join(os.Remove(d.Path()+"/lock"), os.Symlink("/dev/null", d.Path()+"/lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(d); !errors.Is(err, rundir.ErrNotRegular) {
		t.Errorf("a symbolic link: %v", err)
	}
}

// TestWriters: lines of many writers arrive whole and in each one's order.
func TestWriters(t *testing.T) {
	const writers, lines = 16, 100
	d := open(t)
	l := listen(t, d)
	r := serve(t, l)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f, err := os.OpenFile(d.Path()+"/ctl", os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for i := range lines {
				if _, err := fmt.Fprintf(f, "\n%d %d %s\n", w, i, strings.Repeat("x", (w*257+i*31)%4000)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	until(t, "all lines", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.lines) == writers*lines
	})
	next := make([]int, writers)
	for _, line := range r.lines {
		var w, i int
		var x string
		if n, _ := fmt.Sscan(line, &w, &i, &x); n < 2 || next[w] != i || len(x) != (w*257+i*31)%4000 {
			t.Fatalf("torn, lost or out of order: %.40q", line)
		}
		next[w]++
	}
}
