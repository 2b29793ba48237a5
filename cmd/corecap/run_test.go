package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// ran starts corecap run with a spool of its own.
type ran struct {
	*exec.Cmd
	spool          string
	stdout, stderr bytes.Buffer
}

func running(t *testing.T, flags []string, argv ...string) *ran {
	t.Helper()
	gate.Need(t, "ptrace", "gcc")
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	r := &ran{spool: t.TempDir()}
	if err := os.Chmod(r.spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if argv[0] == "crash" {
		argv[0] = bin + "/crash"
	}
	args := append([]string{"run", "-spool", r.spool, "-pidfile", r.spool + "/pid", "-keep-free", "0"}, flags...)
	r.Cmd = exec.Command(bin+"/corecap", append(append(args, "--"), argv...)...)
	r.Stdout, r.Stderr = &r.stdout, &r.stderr
	return r
}

// end gives how it ended, and waits for what it leaves behind to finish a capture,
// too: that has our pipe for its errors. The cores of others are none of its business.
func (r *ran) end(t *testing.T) syscall.WaitStatus {
	t.Helper()
	err := r.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.ProcessState.Sys().(syscall.WaitStatus)
}

func (r *ran) files(t *testing.T, suffix string) []string {
	t.Helper()
	found, err := filepath.Glob(r.spool + "/*" + suffix)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// child waits for the program and gives its pid.
func (r *ran) child(t *testing.T) int {
	t.Helper()
	pid := 0
	eventually(t, "the program runs", func() bool {
		b, err := os.ReadFile(r.spool + "/pid")
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || pid == 0 {
			return false
		}
		args, err := procfs.Cmdline(pid)
		return err == nil && len(args) > 0 && args[0] != r.Args[0]
	})
	return pid
}

func TestRunPassesTheEndOn(t *testing.T) {
	for script, want := range map[string]syscall.WaitStatus{
		"exit 0": 0, "exit 7": 7 << 8, "exit 111": 111 << 8, "kill -9 $$": 9, "kill -TERM $$": 15,
		`trap "exit 3" SEGV; kill -SEGV $$`: 3 << 8, `trap "" QUIT; kill -QUIT $$; exit 4`: 4 << 8,
	} {
		r := running(t, nil, "/bin/sh", "-c", script)
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		if got := r.end(t); got != want || r.stderr.Len() > 0 {
			t.Errorf("%s: ended with %#x, want %#x: %s", script, got, want, &r.stderr)
		}
		if left := r.files(t, ""); len(left) > 0 {
			t.Errorf("%s: left %q", script, left)
		}
	}
}

func TestRunSavesCrashes(t *testing.T) {
	gate.Need(t, "ptrace", "gcc", "gdb")
	for _, test := range []struct {
		word, frame, code string
		signal            syscall.Signal
		threads           int
	}{
		{"segv", "store", "SEGV_MAPERR", syscall.SIGSEGV, 1},
		{"abrt", "abort", "SI_TKILL", syscall.SIGABRT, 1},
		{"threads", "store", "SEGV_MAPERR", syscall.SIGSEGV, 201},
		{"orphan", "store", "SEGV_MAPERR", syscall.SIGSEGV, 1},
	} {
		t.Run(test.word, func(t *testing.T) {
			r := running(t, nil, "crash", test.word)
			program := r.Args[len(r.Args)-2]
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			if end := r.end(t); !end.Signaled() || end.Signal() != test.signal || end.CoreDump() {
				t.Errorf("ended with %#x, want %v and no core of its own", end, test.signal)
			}
			cores, stacks := r.files(t, ".core"), r.files(t, ".stacks")
			if len(cores) != 1 || len(stacks) != 1 {
				t.Fatalf("cores %q, stacks %q: %s", cores, stacks, &r.stderr)
			}
			base := strings.TrimSuffix(cores[0], ".core")
			if bt := backtrace(t, program, cores[0]); !strings.Contains(bt, test.frame+" (") || strings.Contains(bt, "warning: Unexpected size") {
				t.Errorf("gdb: %s", bt)
			}
			for name, want := range map[string]string{
				"mode": "stop", "why": "crash", "threads": strconv.Itoa(test.threads), "partial": "",
				"crash.signal.number": strconv.Itoa(int(test.signal)), "crash.signal.code_name": test.code,
			} {
				if got := member(t, base+".json", name); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
			b, err := os.ReadFile(base + ".stacks")
			if err != nil || !strings.Contains(string(b), " "+test.frame) {
				t.Errorf("stacks: %v\n%.2000s", err, b)
			}
		})
	}
}

// Every signal arrives as it would without us.
func TestRunPassesSignals(t *testing.T) {
	gate.Need(t, "python3")
	r := running(t, nil, "python3", "-c", `
import os, signal, sys
n = 0
def count(*_):
    global n
    n += 1
signal.signal(signal.SIGURG, count)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(n))
for i in range(200):
    os.kill(os.getpid(), signal.SIGURG)
print(n, flush=True)
while True:
    signal.pause()
`)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.child(t)
	eventually(t, "200 signals", func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(r.child(t)) + "/wchan")
		return err == nil && strings.Contains(string(b), "pause") || os.Geteuid() != 0
	})
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if end := r.end(t); end.ExitStatus() != 200 || strings.TrimSpace(r.stdout.String()) != "200" {
		t.Errorf("ended with %#x, counted %s", end, &r.stdout)
	}
}

// A stop lasts, until it is ended; and whoever kills us means the program.
func TestRunStops(t *testing.T) {
	r := running(t, nil, "sleep", "1800")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	pid := r.child(t)
	if who, err := procfs.Tracer(pid); err != nil || who == 0 {
		t.Errorf("traced by %d, %v", who, err)
	}
	if who, err := procfs.Debugger(pid); err != nil || who != 0 {
		t.Errorf("debugged by %d, %v", who, err)
	}
	in := func(states string) func() bool {
		return func() bool {
			st, err := procfs.ReadStat(pid)
			return err == nil && strings.IndexByte(states, st.State) >= 0
		}
	}
	syscall.Kill(pid, syscall.SIGSTOP)
	eventually(t, "it stops", in("Tt"))
	syscall.Kill(pid, syscall.SIGCONT)
	eventually(t, "it goes on", in("S"))
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	eventually(t, "the program is gone", func() bool {
		st, err := procfs.ReadStat(pid)
		return err != nil || st.State == 'Z'
	})
}

// The program has the descriptors that it would have without us, and not the one
// that it waited at.
func TestRunPassesDescriptors(t *testing.T) {
	const list = "echo ready >&3; ls -l /proc/$$/fd"
	pipes := func(cmd *exec.Cmd) int {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		var out bytes.Buffer
		cmd.ExtraFiles, cmd.Stdout = []*os.File{write}, &out
		err = cmd.Run()
		write.Close()
		b := make([]byte, 16)
		if n, rerr := read.Read(b); err != nil || string(b[:n]) != "ready\n" {
			t.Errorf("%v; read %q, %v", err, b[:n], rerr)
		}
		return strings.Count(out.String(), " -> pipe:")
	}
	want := pipes(exec.Command("/bin/sh", "-c", list))
	r := running(t, nil, "/bin/sh", "-c", list)
	r.Stderr = nil
	if got := pipes(r.Cmd); got != want || want < 2 {
		t.Errorf("%d descriptors are pipes, want %d", got, want)
	}
}

// A program that is told to end, and crashes over it, is saved; told again, it is
// told again.
func TestRunSavesCrashesAtTheEnd(t *testing.T) {
	gate.Need(t, "python3")
	r := running(t, nil, "python3", "-c", `
import os, signal
told = 0
def tell(*_):
    global told
    told += 1
    if told == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
signal.signal(signal.SIGTERM, tell)
while True:
    open(`+"'/proc/self/comm', 'w').write('told-%d' % told)"+`
    signal.pause()
`)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	pid := r.child(t)
	for told := range 3 {
		eventually(t, "the program was told", func() bool {
			st, err := procfs.ReadStat(pid)
			return err == nil && st.Comm == "told-"+strconv.Itoa(told) && st.State == 'S'
		})
		if err := r.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if end := r.end(t); end.Signal() != syscall.SIGSEGV || len(r.files(t, ".core")) != 1 {
		t.Errorf("ended with %#x, cores %q: %s", end, r.files(t, ".core"), &r.stderr)
	}
}

// A program of which nothing can be saved dies all the same.
func TestRunWithoutSpool(t *testing.T) {
	r := running(t, nil, "sleep", "1800")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	pid := r.child(t)
	if err := os.RemoveAll(r.spool); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGQUIT)
	if end := r.end(t); end.Signal() != syscall.SIGQUIT || !strings.Contains(r.stderr.String(), "no such file") {
		t.Errorf("ended with %#x: %s", end, &r.stderr)
	}
}

// No signal ends the first process of a container: it leaves with a code, and not
// before all is written.
func TestRunInContainer(t *testing.T) {
	gate.Need(t, "kcore")
	r := running(t, []string{"-gzip"}, "/bin/sh", "-c", "kill -SEGV $$")
	// It leaves with 137 where that does not end.
	r.Args = append([]string{"timeout", "-s", "KILL", "600", "unshare", "-pf", "--kill-child", "--mount-proc", r.Path}, r.Args[1:]...)
	path, err := exec.LookPath("timeout")
	if err != nil {
		t.Fatal(err)
	}
	r.Path = path
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if end := r.end(t); end.ExitStatus() != 128+int(syscall.SIGSEGV) {
		t.Errorf("ended with %#x: %s", end, &r.stderr)
	}
	for _, suffix := range []string{".core.gz", ".json", ".stacks"} {
		if files := r.files(t, suffix); len(files) != 1 {
			t.Errorf("files %q, want one %s", files, suffix)
		}
	}
}

// The program is always traced, whichever thread of the starter goes on first.
func TestRunTraces(t *testing.T) {
	const script = `while read -r key value; do [ "$key" != TracerPid: ] || echo "$value"; done </proc/$$/status`
	for try := range 30 {
		r := running(t, nil, "/bin/sh", "-c", script)
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		if end := r.end(t); end != 0 || r.stdout.String() == "0\n" || r.stdout.Len() == 0 {
			t.Fatalf("try %d: ended with %#x, traced by %q", try, end, &r.stdout)
		}
	}
}

// TestRunLeavesPages: that our own pages stay small is nothing to inherit.
func TestRunLeavesPages(t *testing.T) {
	r := running(t, nil, "grep", "THP_enabled", "/proc/self/status")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	here, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if status := r.end(t); status != 0 || !strings.Contains(string(here), "\n"+r.stdout.String()) {
		t.Errorf("status %#x, the program has %q, and here it is another: %s", status, &r.stdout, &r.stderr)
	}
}
