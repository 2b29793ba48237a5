package contract

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// TestDiagfifoCore: diagfifo finds corecap beside itself, and a command takes a
// core of a process that goes on.
func TestDiagfifoCore(t *testing.T) {
	gate.Need(t, "ptrace")
	program := filepath.Join(tree.Built(t), "dist", "diagfifo")
	dir := t.TempDir()
	cores := filepath.Join(dir, "cores")
	if err := os.Mkdir(cores, 0o755); err != nil {
		t.Fatal(err)
	}
	// Cores of former days, more than corecap keeps of one program.
	for day := range 20 {
		old := fmt.Sprintf("%s/svc_1_202001%02dT000000Z.core", cores, day+1)
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target, err := serveDiagfifo(t, program, "-cores", cores, filepath.Join(dir, "svc"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(verb string) result {
		return run(t, nil, program, "send", "-admin", "-timeout", "1m", filepath.Join(dir, "svc"), verb)
	}
	got := send("core")
	name := regexp.MustCompile(`^ok pid=` + strconv.Itoa(target) + ` file=(\S+/svc_` + strconv.Itoa(target) + `_\d{8}T\d{6}Z\.core)\n$`).FindStringSubmatch(got.stdout)
	if got.code != 0 || name == nil {
		t.Fatalf("core: %+v", got)
	}
	core, err := elf.Open(name[1])
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	if core.Type != elf.ET_CORE || len(core.Progs) < 3 {
		t.Errorf("%s: type %v, %d segments", name[1], core.Type, len(core.Progs))
	}
	left, err := filepath.Glob(cores + "/svc_*.core")
	if err != nil || len(left) >= 20 || !slices.Contains(left, name[1]) {
		t.Errorf("not pruned: %q, %v", left, err)
	}
	if got := send("core"); got.code != 1 || !strings.Contains(got.stderr, "busy: one core in 10m0s: wait ") {
		t.Errorf("another one: %+v", got)
	}
	// Let go, it has still to find the time to go on with its sleep.
	if !settle(func() bool {
		got = send("status")
		return got.code == 0 && strings.Contains(got.stdout, " state=sleeping ") && strings.Contains(got.stdout, " tracer=0 ")
	}) {
		t.Errorf("status: %+v", got)
	}
}

// TestDiagfifoStacks: the stacks of a process that goes on.
func TestDiagfifoStacks(t *testing.T) {
	gate.Need(t, "ptrace")
	program := filepath.Join(tree.Built(t), "dist", "diagfifo")
	dir := filepath.Join(t.TempDir(), "svc")
	target, err := serveDiagfifo(t, program, dir)
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, nil, program, "send", "-admin", "-timeout", "1m", dir, "stacks")
	if got.code != 0 || !strings.Contains(got.stdout, strconv.Itoa(target)) || !strings.Contains(got.stdout, "nanosleep") {
		t.Errorf("stacks: %+v", got)
	}
	if got := run(t, nil, program, "send", "-timeout", "1m", dir, "stacks"); got.code != 1 || !strings.Contains(got.stderr, "denied: stacks: ask at ctl.admin") {
		t.Errorf("stacks for everybody: %+v", got)
	}
}

// TestCtlOnlyLooks: whatever is asked at ctl, the target is only read of: no
// system call that could stop or change it, or make it wait.
func TestCtlOnlyLooks(t *testing.T) {
	gate.Need(t, "strace", "ptrace")
	program := filepath.Join(tree.Built(t), "dist", "diagfifo")
	dir := t.TempDir()
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	})
	pid := strconv.Itoa(sleeper.Process.Pid)
	trace := filepath.Join(dir, "trace")
	server := exec.Command("strace", "-f", "-qq", "-s", "200", "-o", trace,
		"-e", "trace=open,openat,openat2,readlink,readlinkat,/ptrace,/kill,/signal,process_vm_writev,/process_m,pidfd_open,pidfd_getfd,/prlimit,/setpriority,/sched_set,/ioprio_set,kcmp,move_pages,migrate_pages,perf_event_open",
		program, "-pid", pid, "-rate", "0", filepath.Join(dir, "svc"))
	server.Stderr = t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	awaitFile(t, filepath.Join(dir, "svc/ctl.admin"))
	help := run(t, nil, program, "send", "-timeout", "1m", filepath.Join(dir, "svc"), "help").stdout
	verbs := 0
	for _, m := range regexp.MustCompile(`(?m)^(\S+).* ctl  +\S`).FindAllStringSubmatch(help, -1) {
		args := []string{program, "send", "-timeout", "1m", filepath.Join(dir, "svc"), m[1]}
		if m[1] == "dump" {
			args = append(args, "smaps=yes")
		}
		if got := run(t, nil, args...); got.code != 0 {
			t.Errorf("%s: %+v", m[1], got)
		}
		verbs++
	}
	run(t, nil, program, "send", "-admin", "-timeout", "1m", filepath.Join(dir, "svc"), "quit")
	if err := server.Wait(); err != nil || verbs < 9 {
		t.Errorf("%v, %d verbs", err, verbs)
	}
	looked := 0
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		_, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		of := regexp.MustCompile(`\b` + pid + `\b`).MatchString(call)
		switch look := strings.Contains(call, "O_RDONLY") || strings.HasPrefix(call, "readlink"); {
		case of && look:
			looked++
		case of, strings.HasPrefix(call, "ptrace"), strings.HasPrefix(call, "perf_"):
			t.Errorf("not only a look: %s", call)
		}
	}
	if looked < 20 {
		t.Errorf("%d looks at the target: was it traced?", looked)
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not there", path)
		}
	}
}

// serveDiagfifo starts a process that sleeps and a server that explains it, both
// until the end of the test.
func serveDiagfifo(t *testing.T, program string, args ...string) (target int, err error) {
	t.Helper()
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		return 0, err
	}
	t.Cleanup(func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	})
	server := exec.Command(program, append([]string{"-pid", strconv.Itoa(sleeper.Process.Pid)}, args...)...)
	server.Stderr = t.Output()
	if err := server.Start(); err != nil {
		return 0, err
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("diagfifo: %v", err)
		}
	})
	awaitFile(t, args[len(args)-1]+"/ctl.admin")
	return sleeper.Process.Pid, nil
}
