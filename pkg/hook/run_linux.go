package hook

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

func executable(path string) bool { return unix.Access(path, unix.X_OK) == nil }

// closeOnExec marks every descriptor from 3. What Go opens is marked already;
// this is for what the process was started with.
func closeOnExec() {
	// close_range(2) knows the flag since Linux 5.11.
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) != nil {
		closeOnExecEach()
	}
}

func closeOnExecEach() {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be listed is better than nothing
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// run runs the hook once, tells what it has come to, and returns when nothing of
// it is left.
func (r *Runner) run(vars []string, answered func(Answer)) {
	env := append([]string{"PATH=" + Path}, r.cfg.Env...)
	group, ended, err := begin(r.cfg.Program, append(env, vars...), r.cfg.Output)
	if err != nil {
		answered(Answer{Err: fmt.Errorf("%w: %w", ErrStart, cause(err))})
		return
	}
	a, over := r.wait(ended)
	answered(a)
	if !over {
		end(group, ended)
	}
}

// wait waits for a run to end in time. The time is counted in steps, of which
// one that took long counts as two: this process was stopped meanwhile.
func (r *Runner) wait(ended <-chan Answer) (a Answer, over bool) {
	step := max(r.cfg.Timeout/8, 1)
	tick := time.NewTimer(step)
	defer tick.Stop()
	at := time.Now()
	for left := r.cfg.Timeout; ; {
		select {
		case a := <-ended:
			return a, true
		case <-r.stop:
			return Answer{Err: errors.New("stopped: no time left")}, false
		case now := <-tick.C:
			left -= min(now.Sub(at), 2*step)
			at = now
		}
		if left <= 0 {
			return Answer{Err: fmt.Errorf("stopped after %v", r.cfg.Timeout)}, false
		}
		tick.Reset(min(step, left))
	}
}

// end ends the hook and what it has started in its process group. The group's
// number stays taken as long as a process of it lives, so no stranger is hit.
func end(group int, ended <-chan Answer) {
	_ = unix.Kill(-group, unix.SIGTERM) // ESRCH: it has just ended
	deadline := time.NewTimer(killAfter)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for reaped := false; !reaped || unix.Kill(-group, 0) == nil; {
		select {
		case <-ended:
			reaped = true
		case <-look.C:
		case <-deadline.C:
			_ = unix.Kill(-group, unix.SIGKILL)
			if !reaped {
				<-ended
			}
			return
		}
	}
}

func cause(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}
