package capture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// TestMain also plays a capture that a test can kill: its core goes to stdout.
func TestMain(m *testing.M) {
	if pid, _ := strconv.Atoi(os.Getenv("CAPTURE_TEST_STREAM")); pid > 0 {
		if t, err := Open(pid, false); err == nil {
			t.Stream(context.Background(), os.Stdout, Options{Mode: "stop"})
		}
		return
	}
	if served, err := playPart(); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if targetDir != "" {
		os.RemoveAll(targetDir)
	}
	os.Exit(code)
}

// playPart is what a test starts in a process of its own: a server to capture, or
// a capture to kill.
func playPart() (played bool, err error) {
	if socket := os.Getenv("CAPTURE_TEST_SERVE"); socket != "" {
		return true, serveGo(socket)
	}
	pid, _ := strconv.Atoi(os.Getenv("CAPTURE_TEST_SAVE"))
	if pid == 0 {
		return false, nil
	}
	t, err := Open(pid, false)
	if err != nil {
		return true, err
	}
	defer t.Close()
	_, err = t.Save(context.Background(), os.Getenv("CAPTURE_TEST_CORE"), Options{Mode: os.Getenv("CAPTURE_TEST_MODE")}, About{})
	return true, err
}

var targetDir string

// buildTarget compiles testdata/target.c once.
var buildTarget = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		return "", err
	}
	targetDir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "target")
	out, err := exec.Command("gcc", "-O1", "-g", "-pthread", "-o", path, "testdata/target.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return path, nil
})

// live is a running target.
type live struct {
	*exec.Cmd
	pid   int
	lines []string // what it said before "ready"
	file  string   // of its counters

	stdout io.Reader

	stderr words
}

// words is what a target says, while it says it.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func start(t *testing.T, args ...string) *live {
	t.Helper()
	gate.Need(t, "gcc", "ptrace")
	path, err := buildTarget()
	if err != nil {
		t.Fatal(err)
	}
	file := ""
	if len(args) == 1 {
		file = filepath.Join(t.TempDir(), "counters")
		args = append(args, file)
	}
	l := launch(t, exec.Command(path, args...))
	l.file = file
	return l
}

func launch(t *testing.T, cmd *exec.Cmd) *live {
	t.Helper()
	l := &live{Cmd: cmd}
	cmd.Stderr = &l.stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // some have children
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.pid, l.stdout = cmd.Process.Pid, out
	t.Cleanup(func() {
		syscall.Kill(-l.pid, syscall.SIGKILL)
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("the target ended: %v; it said: %s", err, &l.stderr)
		}
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if s.Text() == "ready" {
			return l
		}
		l.lines = append(l.lines, s.Text())
	}
	t.Fatalf("%v did not get ready", cmd.Args)
	return nil
}

// counters are ticks, bad, eintr, handled.
func (l *live) counters(t *testing.T) (c [4]uint64) {
	t.Helper()
	b, err := os.ReadFile(l.file)
	if err != nil || len(b) < 32 {
		t.Fatal(err)
	}
	for i := range c {
		for j := range 8 {
			c[i] |= uint64(b[8*i+j]) << (8 * j)
		}
	}
	return c
}

func (l *live) capture(t *testing.T) (core string, r *Report) {
	t.Helper()
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	core = filepath.Join(t.TempDir(), "a.core")
	r, err = target.Save(context.Background(), core, Options{}, About{Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return core, r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (l *live) state(t *testing.T) procfs.Status {
	t.Helper()
	st, err := procfs.ReadStatus(l.pid)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (l *live) stop(t *testing.T) {
	t.Helper()
	syscall.Kill(l.pid, syscall.SIGSTOP)
	l.stands(t)
}

// stands waits until all threads are stopped, each of which stops by itself, also
// when a tracer lets it go.
func (l *live) stands(t *testing.T) {
	t.Helper()
	eventually(t, "all threads are stopped", func() bool {
		tids, err := procfs.Tasks(l.pid)
		for _, tid := range tids {
			if st, serr := procfs.ReadTaskStat(l.pid, tid); serr == nil && st.State != 'T' && st.State != 'Z' {
				return false
			}
		}
		return err == nil
	})
}

func (l *live) goesOn(t *testing.T) {
	t.Helper()
	before := l.counters(t)[0]
	eventually(t, "the target runs", func() bool { return l.counters(t)[0] > before+3 })
	if st := l.state(t); st.TracerPID != 0 {
		t.Errorf("still traced by %d", st.TracerPID)
	}
}

// Nothing that sleeps in the target may notice twenty captures.
func TestTargetGoesOn(t *testing.T) {
	l := start(t, "calls")
	for range 20 {
		_, r := l.capture(t)
		if r.Threads != 14 || len(r.LeftOut) > 0 || r.Pause <= 0 {
			t.Fatalf("report %+v", r)
		}
	}
	l.goesOn(t)
	c := l.counters(t)
	if runtime.GOARCH != "amd64" {
		return
	}
	if c[1] != 0 {
		t.Errorf("%d calls returned what they should not", c[1])
	}
}

// Real-time signals are counted, never merged: one that is lost or doubled shows.
func TestSignalsArrive(t *testing.T) {
	l := start(t, "signals")
	done := make(chan uint64)
	stop := make(chan struct{})
	go func() {
		var sent uint64
		tick := time.NewTicker(50 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- sent
				return
			case <-tick.C:
			}
			if err := syscall.Kill(l.pid, 34); err == nil { // SIGRTMIN of glibc
				sent++
			}
		}
	}()
	for range 40 {
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Stream(context.Background(), io.Discard, Options{}); err != nil {
			t.Fatal(err)
		}
		target.Close()
	}
	close(stop)
	sent := <-done
	eventually(t, "all signals", func() bool { return l.counters(t)[3] >= sent })
	l.goesOn(t)
	if got := l.counters(t)[3]; got != sent {
		t.Errorf("%d signals sent, %d handled", sent, got)
	}
}

func TestChurningThreads(t *testing.T) {
	l := start(t, "churn")
	for range 30 {
		core, r := l.capture(t)
		if r.Threads < 4 || len(r.LeftOut) > 0 {
			t.Errorf("report %+v", r)
		}
		os.Remove(core)
	}
	l.goesOn(t)
}

func TestEndedFirstThread(t *testing.T) {
	l := start(t, "leader")
	eventually(t, "the end of the first thread", func() bool { return l.state(t).State == 'Z' })
	core, r := l.capture(t)
	if r.Threads != 1 || r.Bytes < 10000 {
		t.Errorf("report %+v", r)
	}
	b, err := os.ReadFile(sidecarPath(core))
	if err != nil || !strings.Contains(string(b), `"exe":"`+l.Path+`"`) {
		t.Errorf("%s, %v", b, err)
	}
	l.goesOn(t)
}

func TestUnstoppableThread(t *testing.T) {
	l := start(t, "vforked")
	_, r := l.capture(t)
	if r.Threads != 2 || len(r.LeftOut) != 1 || r.LeftOut[0].State != 'D' {
		t.Errorf("report %+v", r)
	}
	if r.Pause > time.Minute {
		t.Errorf("the others waited %v", r.Pause)
	}
	l.goesOn(t)
	for _, tid := range []int{l.pid, r.LeftOut[0].TID} {
		eventually(t, "no thread is traced", func() bool {
			st, err := procfs.ReadTaskStatus(l.pid, tid)
			return err == nil && st.TracerPID == 0
		})
	}
}

// A capture that is killed, with the target stopped, leaves it running.
func TestKilledMidCopy(t *testing.T) {
	l := start(t, "calls")
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CAPTURE_TEST_STREAM="+strconv.Itoa(l.pid))
		if _, err := cmd.StdoutPipe(); err != nil { // nobody reads it
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the target is held", func() bool { return l.state(t).State == 't' })
		before := l.counters(t)[0]
		cmd.Process.Signal(sig)
		cmd.Wait()
		eventually(t, "the target runs", func() bool { return l.counters(t)[0] > before+3 })
		if st := l.state(t); st.TracerPID != 0 {
			t.Errorf("still traced by %d", st.TracerPID)
		}
	}
	if runtime.GOARCH == "amd64" && l.counters(t)[1] > 2*2 {
		// The false EINTR of the two epoll_wait is mended at an orderly release only.
		t.Errorf("%d calls returned what they should not", l.counters(t)[1])
	}
}

// A reader that stops reading must not hold the target for ever.
func TestCalledOff(t *testing.T) {
	l := start(t, "calls")
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := target.Stream(ctx, w, Options{Mode: "stop"})
		done <- err
	}()
	eventually(t, "the target is held", func() bool { return l.state(t).State == 't' })
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "called off") {
		t.Error(err)
	}
	l.goesOn(t)
}
