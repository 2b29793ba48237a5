package capture

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

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
		if _, err := target.Stream(context.Background(), io.Discard, Options{}); err == nil || !strings.Contains(err.Error(), "traced by PID") {
			t.Error(err)
		}
		return nil
	})
	l.goesOn(t)
	syscall.Kill(l.pid, syscall.SIGKILL)
	eventually(t, "the end of all threads", target.process.Exited)
	refused(l.pid, false, "is a zombie")
	if _, err := target.Stream(context.Background(), io.Discard, Options{}); !errors.Is(err, fs.ErrNotExist) {
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
	if _, err := target.Stream(context.Background(), io.Discard, Options{}); err != nil {
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
	if _, err := target.Stream(context.Background(), io.Discard, Options{}); err == nil || !strings.Contains(err.Error(), "32-bit") {
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
		if _, err := target.Save(context.Background(), core, Options{}, About{Build: "test"}); err != nil {
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
