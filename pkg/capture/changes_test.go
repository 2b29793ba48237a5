package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
	"vigil/pkg/spool"
)

// changing starts testdata/changes.c.
func changing(t *testing.T, mode string) (l *live, control, at uint64) {
	t.Helper()
	gate.Need(t, "gcc", "ptrace", "precopy")
	dir := t.TempDir()
	path := filepath.Join(dir, "changes")
	if out, err := exec.Command("gcc", "-O1", "-g", "-pthread", "-o", path, "testdata/changes.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	l = launch(t, exec.Command(path, mode, dir))
	if _, err := fmt.Sscanf(l.lines[0], "control %x %x", &control, &at); err != nil {
		t.Fatal(err)
	}
	return l, control, at
}

// into captures l into a file without a name.
func (l *live) into(t *testing.T, mode string) (*loadedCore, *Report, error) {
	t.Helper()
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	file, err := spool.Create(filepath.Join(t.TempDir(), "core"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Discard()
	r, err := target.Capture(t.Context(), &bounded{File: file}, Options{Mode: mode})
	if err != nil {
		return nil, nil, err
	}
	return loadCore(t, file, r.Size), r, nil
}

// between captures l until it is not amid a turn, and gives the number of the last one.
func (l *live) between(t *testing.T, mode string, control uint64) (*loadedCore, *Report, uint64) {
	t.Helper()
	for {
		core, r, err := l.into(t, mode)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		head := core.page(control)
		begun, done := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:])
		if begun > 0 && begun == done {
			return core, r, done
		}
	}
}

// What is mapped at the stop is shown, not what the same place showed before.
func TestPlaceChangesHands(t *testing.T) {
	for _, kind := range []string{"windows", "libraries"} {
		t.Run(kind, func(t *testing.T) {
			l, control, at := changing(t, kind)
			for _, mode := range []string{"precopy", "fork", "stop"} {
				for range 20 {
					core, _, done := l.between(t, mode, control)
					p := core.page(at)
					if p == nil || binary.LittleEndian.Uint32(p[4:]) != uint32(done%2) {
						t.Fatalf("%s: turn %d: %.8q", mode, done, p)
					}
				}
			}
		})
	}
}

// Shared memory that is given up before it was copied is no reason to fail, and what
// took its place is not shown for it.
func TestSharedMemoryVanishes(t *testing.T) {
	l, control, at := changing(t, "shares")
	if err := os.WriteFile("/proc/"+strconv.Itoa(l.pid)+"/coredump_filter", []byte("0xff"), 0); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"precopy", "fork", "stop"} {
		for range 40 {
			core, r, done := l.between(t, mode, control)
			if done%2 == 0 {
				continue
			}
			b := core.page(at)
			if b == nil {
				t.Fatalf("%s: turn %d: no page", mode, done)
			}
			if r.Unread > 0 && bytes.Equal(b, make([]byte, page)) {
				continue // and it says so
			}
			if string(b[:4]) != "\x7fELF" || binary.LittleEndian.Uint32(b[4:]) != uint32(done/2%64) {
				t.Fatalf("%s: turn %d: %.8q, %d bytes unread", mode, done, b, r.Unread)
			}
		}
	}
}

// Memory that stays behind in a fork is taken from where it is at the stop.
func TestStayingMemoryChangesHands(t *testing.T) {
	l, control, at := changing(t, "stays")
	for _, mode := range []string{"fork", "precopy", "stop"} {
		for range 40 {
			core, r, done := l.between(t, mode, control)
			first, last := uint64(0), uint64(16)
			if done%2 == 1 {
				first, last = 4, 8
			}
			for p := first; p < last; p++ {
				b := core.page(at + p*page)
				if r.Unread > 0 && (b == nil || b[0] == 0) {
					continue // and it says so
				}
				if b == nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(done % 100)}, page)) {
					t.Fatalf("%s: turn %d, page %d: %.8x", mode, done, p, b)
				}
			}
		}
	}
}

// A program that becomes another one is captured as one of them, or not at all.
func TestProgramChanges(t *testing.T) {
	for _, mode := range []string{"precopy", "fork", "stop", Auto} {
		t.Run(mode, func(t *testing.T) {
			l, at, _ := changing(t, "becomes")
			for range 40 {
				core, _, err := l.into(t, mode)
				if err != nil {
					if !strings.Contains(err.Error(), "became another program") {
						t.Error(err)
					}
					continue
				}
				first := core.page(at)
				if first == nil || binary.LittleEndian.Uint64(first) == 0 {
					continue // it has just begun
				}
				for p := range uint64(8<<20) / page {
					if b := core.page(at + p*page); b == nil || binary.LittleEndian.Uint64(b) != binary.LittleEndian.Uint64(first) {
						t.Fatalf("page %d: %.8x, the first %.8x", p, b, first)
					}
				}
			}
			if st := l.state(t); st.State == 'Z' || st.State == 'T' || st.TracerPID != 0 {
				t.Errorf("state %c, traced by %d", st.State, st.TracerPID)
			}
		})
	}
}

// Children that the target makes during a capture are as they would be without it.
func TestChildrenInheritNothing(t *testing.T) {
	l, _, _ := changing(t, "forks")
	for range 60 {
		if _, _, err := l.into(t, precopyMode); err != nil {
			t.Fatal(err)
		}
	}
	if said := l.stderr.String(); said != "" {
		t.Error(said)
	}
}

// A target that ends is told of in one way, wherever the capture was.
func TestTargetEnds(t *testing.T) {
	gate.Need(t, "precopy")
	for _, mode := range Modes() {
		l := start(t, "calls")
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		l.Process.Kill()
		eventually(t, "the end", target.process.Exited)
		_, err = target.Save(t.Context(), filepath.Join(t.TempDir(), "a.core"), Options{Mode: mode}, About{})
		target.Close()
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ended") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// blocked is an Output that takes nothing until it is let go.
type blocked struct {
	*bounded
	first sync.Once
	begun chan struct{}
	goOn  chan struct{}
}

func (b *blocked) WriteAt(p []byte, at int64) (int, error) {
	b.first.Do(func() { close(b.begun) })
	<-b.goOn
	return b.bounded.WriteAt(p, at)
}

// begin starts a capture of l whose output waits. The caller ends the wait.
func (l *live) begin(t *testing.T, mode string) (out *blocked, done chan error) {
	t.Helper()
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	file, err := spool.Create(filepath.Join(t.TempDir(), "core"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		file.Discard()
		target.Close()
	})
	out = &blocked{bounded: &bounded{File: file}, begun: make(chan struct{}), goOn: make(chan struct{})}
	done = make(chan error, 1)
	go func() {
		_, err := target.Capture(t.Context(), out, Options{Mode: mode})
		done <- err
	}()
	select {
	case <-out.begun:
	case err := <-done:
		t.Fatal(err)
	}
	return out, done
}

// What a target holds open is free when it ends, however long its copy is read.
func TestCopyHoldsNothingOpen(t *testing.T) {
	l := start(t, "calls")
	out, done := l.begin(t, "fork")
	l.Process.Kill()
	ended := make(chan struct{})
	go func() {
		l.Process.Wait()
		io.Copy(io.Discard, l.stdout) // its other end is with the target alone
		close(ended)
	}()
	select {
	case <-ended:
	case err := <-done:
		t.Fatalf("the copy held the pipe until it ended: %v", err)
	}
	close(out.goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What the target opens during a capture may spoil the copy as well as what it had
// open before.
func TestUnseenWritesBeginLate(t *testing.T) {
	l, _, _ := changing(t, "rings")
	out, done := l.begin(t, precopyMode)
	syscall.Kill(l.pid, syscall.SIGUSR1)
	eventually(t, "the ring", func() bool { return strings.Contains(l.stderr.String(), "registered") })
	close(out.goOn)
	if err := <-done; !errors.Is(err, errUnfit) {
		t.Errorf("%v, want it refused", err)
	}
}

// Huge pages that nobody writes to stay whole.
func TestHugePagesStay(t *testing.T) {
	l, _, _ := changing(t, "huge")
	count := func() (n uint64) {
		maps, err := procfs.ReadSmaps(l.pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range maps {
			n += m.THP
		}
		return n
	}
	before := count()
	if enabled, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil || bytes.Contains(enabled, []byte("[never]")) {
		return // this machine has none
	}
	if before == 0 {
		t.Fatal("no huge pages")
	}
	for range 3 {
		if _, _, err := l.into(t, precopyMode); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after < before {
		t.Errorf("%d bytes in huge pages, %d before", after, before)
	}
}

// A limit is a limit, whoever asked for a mode that leaves nothing out.
func TestPrecopyIsWhole(t *testing.T) {
	gate.Need(t, "precopy")
	l := start(t, "big", "64")
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	for mode, partial := range map[string]bool{precopyMode: false, Auto: true} {
		r, err := target.Save(t.Context(), filepath.Join(t.TempDir(), "a.core"), Options{Mode: mode, MaxSize: 1 << 20}, About{})
		if !partial && !errors.Is(err, errUnfit) || partial && (err != nil || r.Partial == "" || r.Bytes > 2<<20) {
			t.Errorf("%s: %+v, %v", mode, r, err)
		}
	}
}

// What has to stay free stays free, whoever writes.
func TestRoomIsKept(t *testing.T) {
	gate.Need(t, "root", "tmpfs", "precopy")
	const keep = 10 << 20
	l := start(t, "big", "64")
	dir := t.TempDir()
	if err := syscall.Mount("vigil", dir, "tmpfs", 0, "size=33m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	for _, mode := range []string{"fork", "stop", Auto} {
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		core := filepath.Join(dir, mode+".core")
		r, err := target.Save(t.Context(), core, Options{Mode: mode, KeepFree: keep}, About{})
		target.Close()
		if err != nil || r.Partial == "" {
			t.Fatalf("%s: %+v, %v", mode, r, err)
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil || int64(st.Bavail)*st.Bsize < keep {
			t.Errorf("%s: %d bytes are free, %v", mode, int64(st.Bavail)*st.Bsize, err)
		}
		os.Remove(core)
		os.Remove(sidecarPath(core))
	}
}

// A process whose first thread has ended can be followed, too.
func TestEndedFirstThreadIsFollowed(t *testing.T) {
	gate.Need(t, "precopy")
	l := start(t, "leader")
	eventually(t, "the end of the first thread", func() bool { return l.state(t).State == 'Z' })
	if _, r, err := l.into(t, precopyMode); err != nil || r.Threads != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	l.goesOn(t)
}
