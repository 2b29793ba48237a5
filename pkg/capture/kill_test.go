package capture

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// doomed starts a capture of l in a process of its own, which TestMain plays.
func doomed(t *testing.T, l *live, mode, core string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CAPTURE_TEST_SAVE="+strconv.Itoa(l.pid), "CAPTURE_TEST_MODE="+mode, "CAPTURE_TEST_CORE="+core)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// However and whenever a capture is killed, the target goes on unharmed, and a
// later capture clears away what is left.
func TestKilledAnywhere(t *testing.T) {
	const points = 50
	for _, mode := range everyMode(t) {
		t.Run(mode, func(t *testing.T) {
			l := start(t, "calls")
			dir := t.TempDir()
			began := time.Now()
			if err := doomed(t, l, mode, filepath.Join(dir, "whole.core")).Wait(); err != nil {
				t.Fatal(err)
			}
			whole := time.Since(began)
			random := rand.New(rand.NewPCG(1, uint64(began.UnixNano())))
			for i := range points {
				cmd := doomed(t, l, mode, filepath.Join(dir, strconv.Itoa(i)+".core"))
				for end := time.Now().Add(time.Duration(random.Int64N(int64(whole)))); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
				}
				cmd.Process.Kill()
				cmd.Wait()
				l.goesOn(t)
			}
			// A false EINTR of epoll_wait is mended at an orderly release only; nothing
			// else may have returned anything.
			for line := range strings.Lines(l.stderr.String()) {
				if line != "epoll_wait: -1, Interrupted system call\n" {
					t.Errorf("a call failed: %s", line)
				}
			}
			target, err := Open(l.pid, false)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			if _, err := target.Save(t.Context(), filepath.Join(dir, "last.core"), Options{Mode: mode}, About{}); err != nil {
				t.Error(err)
			}
			left, err := procfs.Children(l.pid)
			if err != nil || mode == "fork" && len(left) > 0 {
				t.Errorf("children %v, %v", left, err)
			}
		})
	}
}

// everyMode are the modes that hold all memory and can be tried here.
func everyMode(t *testing.T) []string {
	gate.Need(t, "gcc", "ptrace", "precopy")
	return []string{"precopy", "fork", "stop"}
}

// widow kills a capture while its copy of the target lives, and gives the pid of
// the copy; 0 when the capture had ended before that was seen.
func widow(t *testing.T, l *live) (pid int) {
	t.Helper()
	cmd := doomed(t, l, "fork", filepath.Join(t.TempDir(), "a.core"))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "a fork, or the end of the capture", func() bool {
		if pids, _ := procfs.Children(l.pid); len(pids) > 0 {
			pid = pids[0]
		}
		return pid != 0 || len(ended) > 0
	})
	cmd.Process.Kill()
	if err := <-ended; err == nil {
		return 0
	} else if pid == 0 {
		t.Fatalf("a capture: %v", err)
	}
	return pid
}

// A copy that lost its tracer is a zombie that nobody waits for: the next capture
// does. Here the capture ends while the copy lives.
func TestZombieIsReaped(t *testing.T) {
	gate.Need(t, "gcc", "ptrace", "precopy")
	for _, next := range []string{"fork", "precopy"} {
		l := start(t, "big", "64")
		var zombie int
		eventually(t, "a fork that is seen in time", func() bool {
			zombie = widow(t, l)
			return zombie != 0
		})
		eventually(t, "the end of the fork", func() bool {
			st, err := procfs.ReadStat(zombie)
			return err == nil && st.State == 'Z'
		})
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Save(t.Context(), filepath.Join(t.TempDir(), "b.core"), Options{Mode: next}, About{}); err != nil {
			t.Error(err)
		}
		target.Close()
		if err := syscall.Kill(zombie, 0); err == nil {
			t.Errorf("%s: the zombie %d is still there", next, zombie)
		}
	}
}
