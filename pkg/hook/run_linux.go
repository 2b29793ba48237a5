package hook

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// run runs the hook once.
func (r *Runner) run(vars []string) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	env := append([]string{"PATH=" + Path}, r.cfg.Env...)
	p, err := os.StartProcess(r.cfg.Program, []string{r.cfg.Program}, &os.ProcAttr{
		Dir:   "/",
		Env:   append(env, vars...),
		Files: []*os.File{null, r.cfg.Output, r.cfg.Output},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("start: %w", cause(err))
	}
	ended := make(chan error, 1)
	go func() {
		st, err := p.Wait()
		if err == nil && !st.Success() {
			err = fmt.Errorf("%s", st)
		}
		ended <- err
	}()
	timeout := time.NewTimer(r.cfg.Timeout)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return err
	case <-timeout.C:
		r.end(p.Pid, ended)
		return fmt.Errorf("stopped after %v", r.cfg.Timeout)
	case <-r.stop:
		r.end(p.Pid, ended)
		return fmt.Errorf("stopped: no time left")
	}
}

// end ends the hook and what it has started in its process group. The group's
// number stays taken as long as a process of it lives, so no stranger is hit.
func (r *Runner) end(group int, ended <-chan error) {
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
