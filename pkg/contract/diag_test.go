package contract

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiagfifoCore: diagfifo finds corecap beside itself, and a command takes a
// core of a process that goes on.
func TestDiagfifoCore(t *testing.T) {
	program := filepath.Join(built(t), "dist", "diagfifo")
	dir := t.TempDir()
	cores := filepath.Join(dir, "cores")
	if err := os.Mkdir(cores, 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := serveDiagfifo(t, program, "-cores", cores, filepath.Join(dir, "svc"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(verb string) result {
		return run(t, nil, program, "send", "-admin", "-timeout", "1m", filepath.Join(dir, "svc"), verb)
	}
	got := send("core")
	name := regexp.MustCompile(`^ok pid=` + strconv.Itoa(target) + ` file=(\S+/svc_` + strconv.Itoa(target) + `_\d{8}T\d{6}\.\d{3}Z\.core)\n$`).FindStringSubmatch(got.stdout)
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
	if got := send("core"); got.code != 1 || !strings.Contains(got.stderr, "busy: one core in 10m0s: wait ") {
		t.Errorf("another one: %+v", got)
	}
	if got := send("status"); got.code != 0 || !strings.Contains(got.stdout, " state=sleeping ") || !strings.Contains(got.stdout, " tracer=0 ") {
		t.Errorf("status: %+v", got)
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
	dir := args[len(args)-1]
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(dir + "/ctl.admin"); err == nil {
			return sleeper.Process.Pid, nil
		}
		if time.Now().After(end) {
			t.Fatal("diagfifo does not serve")
		}
	}
}
