package ptrace

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// sleeper gives a process that sleeps by now. It has a process group of its own:
// the tests' may be an orphaned one, and nobody in such is stopped by SIGTSTP.
func sleeper(t *testing.T) (pid int) {
	t.Helper()
	gate.Need(t, "ptrace")
	cmd := exec.Command("sleep", "1000000")
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // no Pdeathsig: Run ends threads, and one of them may be its parent
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	awaitState(t, cmd.Process.Pid, 'S')
	return cmd.Process.Pid
}

func awaitState(t *testing.T, pid int, want byte) procfs.Status {
	t.Helper()
	var st procfs.Status
	for end := time.Now().Add(5 * time.Minute); st.State != want; time.Sleep(time.Millisecond) {
		var err error
		if st, err = procfs.ReadStatus(pid); err != nil || time.Now().After(end) {
			t.Fatalf("state %c, %v, want %c", st.State, err, want)
		}
	}
	return st
}

func hold(t *testing.T, pid int, f func(s *Session)) {
	t.Helper()
	err := Run(func() error {
		s, err := Seize(pid)
		if err != nil {
			return err
		}
		defer s.Release()
		if err := s.Stop(time.Minute); err != nil {
			return err
		}
		f(s)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRunEndsItsThread(t *testing.T) {
	// One of these may get the first thread of the program, which does not end.
	for range 2 * runtime.GOMAXPROCS(0) {
		tid := 0
		if err := Run(func() error { tid = unix.Gettid(); return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		if err := unix.Tgkill(os.Getpid(), tid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("thread %d: %v", tid, err)
		}
	}
}

func TestStopAndRelease(t *testing.T) {
	pid := sleeper(t)
	hold(t, pid, func(s *Session) {
		if st := awaitState(t, pid, 't'); st.TracerPID == 0 {
			t.Error("not traced")
		}
		threads := s.Threads()
		if len(threads) != 1 || threads[0].TID != pid || threads[0].Signal != 0 || len(s.LeftOut()) != 0 {
			t.Fatalf("threads %+v, left out %v", threads, s.LeftOut())
		}
		if info, err := threads[0].Siginfo(); err != nil || info != [SiginfoSize]byte{} {
			t.Errorf("siginfo % x, %v", info, err)
		}
		if b, err := threads[0].Regset(1, make([]byte, 4096)); err != nil || len(b) < 128 {
			t.Errorf("registers: %d bytes, %v", len(b), err)
		}
		if _, err := threads[0].Regset(0xdead, make([]byte, 4096)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a register set that does not exist: %v", err)
		}
		s.Release()
		pause := s.Pause()
		if pause <= 0 {
			t.Errorf("pause %v", pause)
		}
		if s.Release(); s.Pause() != pause {
			t.Errorf("second pause %v", s.Pause())
		}
	})
	if st := awaitState(t, pid, 'S'); st.TracerPID != 0 {
		t.Errorf("traced by %d", st.TracerPID)
	}
}

func TestGroupStopStays(t *testing.T) {
	pid := sleeper(t)
	unix.Kill(pid, unix.SIGSTOP)
	awaitState(t, pid, 'T')
	hold(t, pid, func(s *Session) {
		threads := s.Threads()
		if len(threads) != 1 || threads[0].Signal != unix.SIGSTOP {
			t.Fatalf("threads %+v", threads)
		}
		if info, err := threads[0].Siginfo(); err != nil || info[0] != byte(unix.SIGSTOP) {
			t.Errorf("siginfo % x, %v", info, err)
		}
	})
	awaitState(t, pid, 'T')
	unix.Kill(pid, unix.SIGCONT)
	awaitState(t, pid, 'S')
}

// What comes while the process is held is not lost: it ends by it, or stops.
func TestSignalWhileHeld(t *testing.T) {
	pid := sleeper(t)
	hold(t, pid, func(*Session) { unix.Kill(pid, unix.SIGTSTP) })
	awaitState(t, pid, 'T')
	hold(t, pid, func(*Session) { unix.Kill(pid, unix.SIGCONT) })
	awaitState(t, pid, 'S')
	hold(t, pid, func(*Session) { unix.Kill(pid, unix.SIGTERM) })
	awaitState(t, pid, 'Z')
}

func TestKilledWhileHeld(t *testing.T) {
	pid := sleeper(t)
	hold(t, pid, func(s *Session) {
		unix.Kill(pid, unix.SIGKILL)
		awaitState(t, pid, 'Z')
		if _, err := s.Threads()[0].Regset(1, make([]byte, 4096)); !errors.Is(err, unix.ESRCH) {
			t.Errorf("registers of the dead: %v", err)
		}
	})
}

func TestSeizeRefuses(t *testing.T) {
	pid := sleeper(t)
	hold(t, pid, func(*Session) {
		if err := Run(func() error { _, err := Seize(pid); return err }); !errors.Is(err, unix.EPERM) {
			t.Errorf("a second tracer: %v", err)
		}
	})
	unix.Kill(pid, unix.SIGKILL)
	awaitState(t, pid, 'Z')
	if err := Run(func() error { _, err := Seize(pid); return err }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a zombie: %v", err)
	}
	if err := Run(func() error { _, err := Seize(1 << 30); return err }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody: %v", err)
	}
}

// A call in a process that has ended is not waited for.
func TestReapInTheDead(t *testing.T) {
	pid := sleeper(t)
	unix.Kill(pid, unix.SIGKILL)
	awaitState(t, pid, 'Z')
	if err := Reap(pid, Site{}, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	pid := sleeper(t)
	maps, err := procfs.ReadSmaps(pid)
	if err != nil || len(maps) == 0 {
		t.Fatal(err)
	}
	m, err := OpenMemory(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	first := maps[0]
	size := int(procfs.PageSize)
	a, b := make([]byte, size), make([]byte, size)
	if _, err := m.ReadAt(a, int64(first.Start)); err != nil || string(a[1:4]) != "ELF" {
		t.Errorf("% x, %v", a[:4], err)
	}
	if _, err := m.Gentle(b, int64(first.Start)); err != nil || string(a) != string(b) {
		t.Errorf("% x, %v", b[:4], err)
	}
	// Up to the end of the mapping and not beyond.
	last := maps[0]
	for _, n := range maps[1:] {
		if n.Start != last.End {
			break
		}
		last = n
	}
	if n, err := m.ReadAt(make([]byte, 2*size), int64(last.End)-int64(size)); n != size || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := OpenMemory(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestLinger: the slices are long, where the kernel knows of such (it tells them),
// and nothing else changes; then all is as before.
func TestLinger(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := func() unix.SchedAttr {
		t.Helper()
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return *a
	}
	before := attr()
	back := Linger()
	during := attr()
	back()
	if after := attr(); after != before {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	if before.Runtime > 0 && during.Runtime <= before.Runtime {
		t.Errorf("slices of %d ns, and then of %d", before.Runtime, during.Runtime)
	}
	during.Runtime = before.Runtime
	if during != before {
		t.Errorf("before %+v\nthen   %+v", before, during)
	}
}
