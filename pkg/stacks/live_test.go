package stacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/capture"
	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/unwind"
)

var targetDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if targetDir != "" {
		os.RemoveAll(targetDir)
	}
	os.Exit(code)
}

// buildTarget compiles testdata/target.c once.
var buildTarget = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stacks")
	if err != nil {
		return "", err
	}
	targetDir = dir
	path := filepath.Join(dir, "target")
	out, err := exec.Command("gcc", "-O1", "-g", "-fno-inline", "-pthread", "-o", path, "testdata/target.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return path, nil
})

// target starts the program of testdata and waits until it is ready.
func target(t *testing.T, args ...string) (pid int) {
	t.Helper()
	gate.Need(t, "gcc", "ptrace")
	path, err := buildTarget()
	if err != nil {
		t.Fatal(err)
	}
	pid = launch(t, exec.Command(path, args...))
	await(t, "its rest", func() bool {
		st, err := procfs.ReadStatus(pid)
		return err == nil && st.State == 'S'
	})
	return pid
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// launch starts a program and waits for its line "ready".
func launch(t *testing.T, cmd *exec.Cmd) (pid int) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if s.Text() == "ready" {
			return cmd.Process.Pid
		}
	}
	t.Fatalf("%v did not get ready", cmd.Args)
	return 0
}

// freeze makes all threads stay where they are, for whoever looks.
func freeze(t *testing.T, pid int) {
	t.Helper()
	syscall.Kill(pid, syscall.SIGSTOP)
	await(t, "SIGSTOP", func() bool {
		tids, err := procfs.Tasks(pid)
		for _, tid := range tids { // each stops by itself
			if st, serr := procfs.ReadTaskStat(pid, tid); serr == nil && st.State != 'T' && st.State != 'Z' {
				return false
			}
		}
		return err == nil
	})
}

func live(t *testing.T, pid int) *Process {
	t.Helper()
	target, err := capture.Open(pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	p, err := Live(target, DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lines renders the stacks, by thread: "address function".
func lines(p *Process) map[int][]string {
	out := map[int][]string{}
	for _, t := range p.Threads {
		out[t.TID] = []string{}
		for _, f := range t.Frames {
			out[t.TID] = append(out[t.TID], fmt.Sprintf("%#x %s", f.PC, f.Func))
		}
	}
	return out
}

var (
	euThread = regexp.MustCompile(`^TID (\d+):`)
	euFrame  = regexp.MustCompile(`^#\d+ +0x0*([0-9a-f]+)(?: +- 1)?(?: ([^ ]+))?$`)
)

// euStack is the same by eu-stack(1).
func euStack(t *testing.T, pid int) map[int][]string {
	t.Helper()
	// It leaves with 1 where it did not find the end of a stack.
	text, err := exec.Command("eu-stack", "-r", "-p", strconv.Itoa(pid)).Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	out := map[int][]string{}
	tid := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := euThread.FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
			out[tid] = []string{}
		} else if m := euFrame.FindStringSubmatch(line); m != nil {
			name, _, _ := strings.Cut(m[2], "@") // without the version
			out[tid] = append(out[tid], fmt.Sprintf("0x%s %s", m[1], name))
		}
	}
	return out
}

func same(t *testing.T, ours, theirs map[int][]string) {
	t.Helper()
	frames := 0
	for tid, want := range theirs {
		got := ours[tid]
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("thread %d:\n%s\nwant:\n%s", tid, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		frames += len(want)
	}
	if len(ours) != len(theirs) || frames < 3*len(theirs) {
		t.Errorf("%d threads, want %d; %d frames", len(ours), len(theirs), frames)
	}
}

// Frame by frame what eu-stack says, of programs in C and of an interpreter.
func TestElfutilsAgree(t *testing.T) {
	gate.Need(t, "elfutils", "gcc", "ptrace")
	for _, c := range []struct {
		args []string
		want string // functions, innermost first
	}{
		{[]string{"threads", "50"}, ""},
		{[]string{"threads", "999"}, ""},
		{[]string{"signal"}, "handler __restore_rt syscall interrupted"},
		{[]string{"altstack"}, "handler __restore_rt syscall interrupted"},
		{[]string{"jit"}, "called  jit main"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			pid := target(t, c.args...)
			freeze(t, pid)
			p := live(t, pid)
			same(t, lines(p), euStack(t, pid))
			var functions []string
			for _, f := range p.Threads[0].Frames {
				functions = append(functions, f.Func)
			}
			if got := strings.Join(functions, " "); !strings.Contains(got, c.want) || !strings.HasSuffix(got, " main __libc_start_call_main __libc_start_main _start") {
				t.Errorf("functions: %s", got)
			}
			for _, th := range p.Threads {
				if th.End != unwind.Complete {
					t.Errorf("thread %d ends: %s", th.TID, th.End)
				}
			}
			if last := p.Threads[len(p.Threads)-1]; c.args[0] == "threads" && !strings.HasPrefix(last.Comm, "worker ") {
				t.Errorf("name %q", last.Comm)
			}
		})
	}
}

func TestPython(t *testing.T) {
	gate.Need(t, "elfutils", "python3", "ptrace")
	pid := launch(t, exec.Command("python3", "-c", `
import sys, threading, time
b = threading.Barrier(9)
def f(n):
    if n: return f(n - 1)
    b.wait()
    time.sleep(1800)
for i in range(8): threading.Thread(target=f, args=(i,), daemon=True).start()
b.wait()
print("ready", flush=True)
time.sleep(1800)
`))
	freeze(t, pid)
	p := live(t, pid)
	same(t, lines(p), euStack(t, pid))
	if len(p.Threads) != 9 {
		t.Errorf("%d threads", len(p.Threads))
	}
}

// A program that is stripped but for a section with compressed symbols, as
// Fedora's are.
func TestDebugData(t *testing.T) {
	gate.Need(t, "elfutils", "binutils", "gcc", "ptrace")
	path, err := buildTarget()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	symbols, stripped := filepath.Join(dir, "symbols"), filepath.Join(dir, "stripped")
	for _, args := range [][]string{
		{"objcopy", "--only-keep-debug", "-g", path, symbols},
		{"xz", symbols},
		{"strip", "-o", stripped, path},
		{"objcopy", "--add-section", ".gnu_debugdata=" + symbols + ".xz", stripped},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	pid := launch(t, exec.Command(stripped, "threads", "20"))
	freeze(t, pid)
	p := live(t, pid)
	same(t, lines(p), euStack(t, pid))
	if all := fmt.Sprint(lines(p)); !strings.Contains(all, " dig ") || !strings.Contains(all, " f7 ") {
		t.Error(all)
	}
}

// A thread that cannot be stopped is told by its place alone, and the others do
// not wait for it.
func TestUnstoppableThread(t *testing.T) {
	pid := target(t, "vforked")
	p := live(t, pid)
	if len(p.Threads) != 2 || p.Threads[0].End != unwind.Complete {
		t.Fatalf("%+v", p.Threads)
	}
	th := p.Threads[1]
	if th.State != 'D' || th.End != unwind.NoProcess || len(th.Frames) != 1 || !strings.Contains(th.Frames[0].Func, "vfork") {
		t.Errorf("%+v", th)
	}
	if p.Pause > time.Minute {
		t.Errorf("the others waited %v", p.Pause)
	}
	await(t, "its release", func() bool {
		st, err := procfs.ReadTaskStatus(pid, th.TID)
		return err == nil && st.TracerPID == 0
	})
}

// Where no file can be had, what is loaded of it has to do.
func TestWithoutFiles(t *testing.T) {
	pid := target(t, "threads", "3")
	freeze(t, pid)
	want := live(t, pid)
	tg, err := capture.Open(pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer tg.Close()
	snap, err := tg.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := ptrace.OpenMemory(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	maps := liveMappings(snap.Maps)
	none := newModules(maps, func(unwind.Mapping) []string { return nil })
	s, ok := unwind.NewSpace(unwind.Process{Machine: capture.Machine, Maps: maps, Modules: none, Code: mem})
	if !ok {
		t.Fatal("machine")
	}
	defer none.Close()
	for i, c := range snap.Threads {
		got := s.Unwind(c.Regs, c.Stack, 256)
		for k, f := range want.Threads[i].Frames {
			if k >= len(got.Frames) || got.Frames[k].PC != f.PC {
				t.Fatalf("thread %d: frame %d: %+v, want %+v", c.TID, k, got.Frames, f)
			}
		}
		list := []unwind.Stack{got}
		s.Name(list)
		if inner := list[0].Frames[0]; inner.Func != "pause" {
			t.Errorf("thread %d: %+v", c.TID, inner)
		}
	}
}

// Who may not read the very file takes what bears its name, if it is the same.
func TestReplacedFile(t *testing.T) {
	path, err := buildTarget()
	if err != nil {
		gate.Need(t, "gcc")
		t.Fatal(err)
	}
	gate.Need(t, "ptrace")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "own")
	if err := executable.Write(own, b, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := launch(t, exec.Command(own, "threads", "1"))
	maps, _, err := procfs.ReadMaps(pid, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ms := newModules(liveMappings(maps), func(unwind.Mapping) []string { return []string{own} })
	ms.memory = f
	defer ms.Close()
	m := unwind.Mapping{}
	for _, u := range liveMappings(maps) {
		if u.Executable && u.Name == own {
			m = u
		}
	}
	if file, size := ms.Open(m); file == nil || size != int64(len(b)) {
		t.Errorf("the file itself: %d bytes", size)
	}
	os.Remove(own)
	if err := executable.Write(own, append([]byte("\x7fELF"), b[100:]...), 0o755); err != nil {
		t.Fatal(err)
	}
	if file, _ := ms.Open(m); file != nil {
		t.Error("another file was taken for it")
	}
	os.Remove(own)
	if err := syscall.Mkfifo(own, 0o600); err != nil {
		t.Fatal(err)
	}
	if file, _ := ms.Open(m); file != nil {
		t.Error("a FIFO was taken for it")
	}
}
