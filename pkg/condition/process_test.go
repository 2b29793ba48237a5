package condition

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/procfs"
)

func TestPIDJudge(t *testing.T) {
	var p pidProbe
	const a, b = 1, 2 // who vouches for the file stands for all that may change
	for i, tt := range []struct {
		pid    int
		m      int
		st     procfs.Stat
		exists bool
		want   string
	}{
		{42, a, procfs.Stat{State: 'S', StartTime: 100}, true, ""},
		{42, a, procfs.Stat{State: 'T', StartTime: 100}, true, ""}, // stopped: it exists
		{42, a, procfs.Stat{State: 'Z', StartTime: 100}, true, "pid 42: zombie"},
		{42, a, procfs.Stat{}, false, "pid 42: no such process"},
		{42, a, procfs.Stat{State: 'S', StartTime: 200}, true, "pid 42: another process has the number now"},
		{42, b, procfs.Stat{State: 'S', StartTime: 200}, true, ""}, // the file was written anew
		{43, b, procfs.Stat{State: 'S', StartTime: 300}, true, ""},
	} {
		if got := p.judge(procfs.Pidfile{PID: tt.pid, UID: tt.m}, tt.st, tt.exists); got != tt.want {
			t.Errorf("look %d: %q, want %q", i, got, tt.want)
		}
	}
}

func TestPidfileLook(t *testing.T) {
	name := filepath.Join(t.TempDir(), "svc.pid")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := &pidProbe{path: name}
	look := func(want string) {
		t.Helper()
		if got := p.look(nil, 0); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	look(missing)
	write("")
	look(`want a process id, have ""`)
	write(strings.Repeat("9", 4096))
	look(`want a process id, have "99999999999999999999"`)
	write(fmt.Sprintf("%d\n", os.Getpid()))
	look("")

	child := exec.Command("sleep", "1000")
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	write(fmt.Sprintf(" %d ", pid))
	look("")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); p.look(nil, 0) == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a killed process still holds after 30s")
		}
	}
	look(fmt.Sprintf("pid %d: zombie", pid))
	_ = child.Wait()
	look(fmt.Sprintf("pid %d: no such process", pid))

	if err := os.Chmod(name, 0o646); err != nil {
		t.Fatal(err)
	}
	look("writable for everybody")
	if err := p.check(); err == nil || !strings.Contains(err.Error(), "0646") {
		t.Errorf("check: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	look("open: not a regular file") // and it does not block
}
