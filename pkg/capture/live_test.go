package capture

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// TestMain also plays a capture that a test can kill: its core goes to stdout.
func TestMain(m *testing.M) {
	if pid, _ := strconv.Atoi(os.Getenv("CAPTURE_TEST_STREAM")); pid > 0 {
		if t, err := Open(pid, false); err == nil {
			t.Stream(context.Background(), os.Stdout)
		}
		return
	}
	code := m.Run()
	if targetDir != "" {
		os.RemoveAll(targetDir)
	}
	os.Exit(code)
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
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
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
	l.pid = cmd.Process.Pid
	t.Cleanup(func() {
		syscall.Kill(-l.pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Logf("the target said: %s", &stderr)
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
	r, err = target.Save(context.Background(), core, "test")
	if err != nil {
		t.Fatal(err)
	}
	return core, r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
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
	eventually(t, "SIGSTOP", func() bool { return l.state(t).State == 'T' })
}

func (l *live) goesOn(t *testing.T) {
	t.Helper()
	before := l.counters(t)[0]
	eventually(t, "the target runs", func() bool { return l.counters(t)[0] > before+3 })
	if st := l.state(t); st.TracerPID != 0 {
		t.Errorf("still traced by %d", st.TracerPID)
	}
}

func gdb(t *testing.T, exe, core, command string) string {
	t.Helper()
	out, err := exec.Command("gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set width 0", "-ex", command, exe, core).CombinedOutput()
	if err != nil {
		t.Fatalf("gdb: %v: %s", err, out)
	}
	return string(out)
}

// byThread cuts the output of "thread apply all" at its headings; what comes
// before the first is named "".
func byThread(out string) map[string]string {
	parts := map[string]string{}
	lwp := ""
	heading := regexp.MustCompile(`^Thread \d+ \(.*LWP (\d+)\)`)
	for line := range strings.Lines(out) {
		if m := heading.FindStringSubmatch(line); m != nil {
			lwp = m[1]
			continue
		}
		parts[lwp] += line
	}
	return parts
}

// The target is stopped by SIGSTOP and captured by gdb and by us: gdb must see
// the same in both cores.
func TestGDBAgrees(t *testing.T) {
	gate.Need(t, "gdb", "gcc", "ptrace")
	l := start(t, "threads")
	l.stop(t)
	core, r := l.capture(t)
	if r.Threads != 50 || len(r.LeftOut) > 0 || r.Unread > 0 {
		t.Errorf("report %+v", r)
	}
	if l.state(t).State != 'T' {
		t.Error("a stopped process was let run")
	}
	theirs := filepath.Join(t.TempDir(), "gcore")
	if out, err := exec.Command("gcore", "-o", theirs, strconv.Itoa(l.pid)).CombinedOutput(); err != nil {
		t.Fatalf("gcore: %v: %s", err, out)
	}
	theirs += "." + strconv.Itoa(l.pid)
	for _, command := range []string{"thread apply all bt", "thread apply all info all-registers", "thread apply all x/64gx $sp"} {
		ours, theirs := byThread(gdb(t, l.Path, core, command)), byThread(gdb(t, l.Path, theirs, command))
		if strings.Contains(ours[""], "warning") {
			t.Errorf("%s: %s", command, ours[""])
		}
		if len(ours) != 51 {
			t.Errorf("%s: %d threads", command, len(ours)-1)
		}
		for lwp, want := range theirs {
			if got := ours[lwp]; lwp != "" && got != want {
				t.Errorf("%s: thread %s:\n%s\nwant:\n%s", command, lwp, got, want)
			}
		}
	}
	bt := gdb(t, l.Path, core, "thread apply all bt")
	for _, f := range []string{"f10 ", "f58 ", "bottom ", "spin ", "recurse ", "main "} {
		if !strings.Contains(bt, " in "+f) && !strings.Contains(bt, "  "+f) {
			t.Errorf("no frame %s in %s", f, bt)
		}
	}
	for _, command := range []string{"info auxv", "info proc mappings", "info sharedlibrary"} {
		// What precedes the answer tells how the process ended, which gdb sees differently.
		answer := func(core string) string {
			_, out, _ := strings.Cut(gdb(t, l.Path, core, command), "\n#0 ")
			_, out, _ = strings.Cut(out, "\n")
			return regexp.MustCompile(`(?m)^\[Current thread.*\n|^\d+\t.*\n`).ReplaceAllString(out, "")
		}
		if got, want := answer(core), answer(theirs); got != want || len(got) < 100 {
			t.Errorf("%s:\n%s\nwant:\n%s", command, got, want)
		}
	}
	if out := gdb(t, l.Path, core, "p $_siginfo.si_signo"); !strings.Contains(out, "= 19") {
		t.Errorf("siginfo: %s", out)
	}
	syscall.Kill(l.pid, syscall.SIGCONT)
	eventually(t, "SIGCONT", func() bool { return l.state(t).State != 'T' })
}

func TestElfutilsAgree(t *testing.T) {
	gate.Need(t, "elfutils", "gcc", "ptrace")
	l := start(t, "calls")
	core, r := l.capture(t)
	cmd := exec.Command("eu-readelf", "-n", core)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("eu-readelf: %v: %s", err, &stderr)
	}
	for note, want := range map[string]int{"PRSTATUS": r.Threads, "FPREGSET": r.Threads, "SIGINFO": r.Threads, "PRPSINFO": 1, "AUXV": 1, "FILE": 1} {
		if got := len(regexp.MustCompile(`(?m)^  CORE +\d+  `+note+`$`).FindAll(out, -1)); got != want {
			t.Errorf("%d notes %s, want %d", got, note, want)
		}
	}
	if runtime.GOARCH == "amd64" && bytes.Count(out, []byte("X86_XSTATE")) != r.Threads {
		t.Error("not every thread has its X86_XSTATE")
	}
	if !regexp.MustCompile(`fname: target,?\s+psargs: ` + regexp.QuoteMeta(l.Path) + " calls").Match(out) {
		t.Errorf("process: %.600s", out)
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
		for {
			select {
			case <-stop:
				done <- sent
				return
			default:
			}
			if err := syscall.Kill(l.pid, 34); err == nil { // SIGRTMIN of glibc
				sent++
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	for range 40 {
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Stream(context.Background(), io.Discard); err != nil {
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
	if f, err := elf.Open(core); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	l.goesOn(t)
}

func TestUnstoppableThread(t *testing.T) {
	l := start(t, "vforked")
	_, r := l.capture(t)
	if r.Threads != 2 || len(r.LeftOut) != 1 || r.LeftOut[0].State != 'D' {
		t.Errorf("report %+v", r)
	}
	if r.Pause > 5*time.Second {
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

// readCore returns size bytes at addr; nil where the core has none.
func readCore(t *testing.T, f *elf.File, addr, size uint64) []byte {
	t.Helper()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr < p.Vaddr+p.Memsz {
			if addr+size > p.Vaddr+p.Filesz {
				return nil
			}
			b := make([]byte, size)
			if _, err := p.ReadAt(b, int64(addr-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("no segment for %#x", addr)
	return nil
}

func TestMemory(t *testing.T) {
	l := start(t, "memory", filepath.Join(t.TempDir(), "file"))
	for filter, file := range map[string]bool{"33": false, "ff": true} {
		if err := os.WriteFile("/proc/"+strconv.Itoa(l.pid)+"/coredump_filter", []byte("0x"+filter), 0); err != nil {
			t.Fatal(err)
		}
		core, r := l.capture(t)
		f, err := elf.Open(core)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		mem, err := ptrace.OpenMemory(l.pid)
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		fromFile := map[bool]string{false: "absent", true: "same"}[file]
		want := map[string]string{
			"sparse": "same", "untouched": "absent", "dontdump": "absent", "protected": "same", "forked": "same",
			"shared": "same", "written": "same", "clean": fromFile, "fileshared": fromFile,
		}
		for _, line := range l.lines {
			var name string
			var addr, size uint64
			if _, err := fmt.Sscanf(line, "%s %x %x", &name, &addr, &size); err != nil {
				t.Fatal(err)
			}
			got := readCore(t, f, addr, size)
			switch {
			case want[name] == "absent":
				if got != nil {
					t.Errorf("filter %s: %s is in the core", filter, name)
				}
				continue
			case got == nil:
				t.Errorf("filter %s: %s is not in the core", filter, name)
				continue
			}
			real := make([]byte, size)
			mem.ReadAt(real, int64(addr)) // the end of "written" cannot be read
			if name == "shared" && os.Geteuid() != 0 {
				clear(real[:9*4096]) // only root sees what others wrote
			}
			if !bytes.Equal(got, real) {
				t.Errorf("filter %s: %s differs", filter, name)
			}
		}
		if os.Geteuid() == 0 && r.Unread != 2*4096 {
			t.Errorf("filter %s: unread %d, want the two pages behind the end of the file", filter, r.Unread)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(core, &st); err != nil || st.Blocks*512 > 8<<20 || st.Size < 64<<20 {
			t.Errorf("size %d, on disk %d", st.Size, st.Blocks*512)
		}
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
		_, err := target.Stream(ctx, w)
		done <- err
	}()
	eventually(t, "the target is held", func() bool { return l.state(t).State == 't' })
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "called off") {
		t.Error(err)
	}
	l.goesOn(t)
}

func TestRefuses(t *testing.T) {
	l := start(t, "calls")
	refused := func(pid int, force bool, want string) {
		t.Helper()
		target, err := Open(pid, force)
		if err == nil {
			target.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "pid "+strconv.Itoa(pid)) != 1 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	tids, err := procfs.Tasks(l.pid)
	if err != nil {
		t.Fatal(err)
	}
	refused(tids[1], false, "is a thread of PID "+strconv.Itoa(l.pid))
	ptrace.Run(func() error {
		s, err := ptrace.Seize(l.pid)
		if err != nil {
			t.Error(err)
			return err
		}
		defer s.Release()
		refused(l.pid, true, "traced by PID "+strconv.Itoa(os.Getpid()))
		return nil
	})
	// Somebody else was faster.
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	ptrace.Run(func() error {
		if _, err := ptrace.Seize(l.pid); err != nil {
			t.Error(err)
			return err
		}
		if _, err := target.Stream(context.Background(), io.Discard); err == nil || !strings.Contains(err.Error(), "traced by PID") {
			t.Error(err)
		}
		return nil
	})
	l.goesOn(t)
	syscall.Kill(l.pid, syscall.SIGKILL)
	eventually(t, "a zombie", func() bool { return l.state(t).State == 'Z' })
	refused(l.pid, false, "is a zombie")
	if _, err := target.Stream(context.Background(), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that ended: %v", err)
	}
	l.Wait()
	refused(l.pid, false, "no such process")
	if st, err := procfs.ReadStat(2); err == nil && st.Kernel() {
		refused(2, true, "is a kernel thread")
	}
}

func TestUndumpable(t *testing.T) {
	l := start(t, "undumpable")
	_, err := Open(l.pid, false)
	if err == nil || !strings.Contains(err.Error(), "dumpable") {
		t.Error(err)
	}
	target, err := Open(l.pid, true)
	if os.Geteuid() != 0 {
		if !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := target.Stream(context.Background(), io.Discard); err != nil {
		t.Error(err)
	}
}

func Test32Bit(t *testing.T) {
	gate.Need(t, "gcc", "ptrace")
	if runtime.GOARCH != "amd64" {
		return
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "pause.S")
	if err := os.WriteFile(source, []byte(".globl _start\n_start: movl $29, %eax\nint $0x80\njmp _start\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "pause")
	if out, err := exec.Command("gcc", "-m32", "-nostdlib", "-static", "-o", exe, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	cmd := exec.Command(exe)
	if err := cmd.Start(); errors.Is(err, syscall.ENOEXEC) {
		return // nor does the kernel run it
	} else if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	if _, err := Open(pid, false); err == nil || !strings.Contains(err.Error(), "32-bit") {
		t.Error(err)
	}
	// Also if the file did not tell.
	process, err := procfs.OpenProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	target := &Target{PID: pid, process: process}
	defer target.Close()
	if _, err := target.Stream(context.Background(), io.Discard); err == nil || !strings.Contains(err.Error(), "32-bit") {
		t.Error(err)
	}
}

// Root captures for the user of the process, and for root what its user must not see.
func TestOwner(t *testing.T) {
	gate.Need(t, "root", "gcc", "ptrace")
	path, err := buildTarget()
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[string]uint32{"calls": 65534, "undumpable": 0} {
		cmd := exec.Command(path, mode)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		l := launch(t, cmd)
		target, err := Open(l.pid, true)
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		core := filepath.Join(t.TempDir(), "a.core")
		if _, err := target.Save(context.Background(), core, "test"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{core, sidecarPath(core)} {
			var st syscall.Stat_t
			if err := syscall.Stat(name, &st); err != nil || st.Uid != want || st.Gid != want || st.Mode&0o777 != 0o600 {
				t.Errorf("%s: %s: uid %d, gid %d, mode %o, %v", mode, name, st.Uid, st.Gid, st.Mode, err)
			}
		}
	}
}
