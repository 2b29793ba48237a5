package hook

import (
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// kind tells of a file whether it is a regular one, and one that everybody may write.
func kind(path string) (regular, open bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG, st.Mode&0o002 != 0, nil
}

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
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	for b := make([]byte, 4<<10); ; {
		n, err := unix.ReadDirent(dir, b)
		if n <= 0 || err != nil {
			return // what could be listed is better than nothing
		}
		_, _, names := unix.ParseDirent(b[:n], -1, nil)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
				unix.CloseOnExec(fd)
			}
		}
	}
}

// run runs the hook once, tells what it has come to, and returns when nothing of
// it is left.
func (r *Runner) run(vars []string, answered func(Answer)) {
	env := append([]string{"PATH=" + Path}, r.cfg.Env...)
	begun := time.Now()
	group, ended, err := begin(r.cfg.Program, append(env, vars...), r.cfg.Output)
	if err != nil {
		answered(Answer{Err: fmt.Errorf("%w: %w", ErrStart, err)})
		return
	}
	a, over := r.wait(ended)
	a.Took = time.Since(begun)
	answered(a)
	if !over {
		end(group, ended)
	}
}

// alarm sends over c when d is over; after again(d) it does once more. Not a
// time.Timer: with its channel of times it brings the time zones along, 40 kB.
func alarm(d time.Duration) (c <-chan struct{}, again func(time.Duration), stop func()) {
	rings := make(chan struct{}, 1)
	timer := time.AfterFunc(d, func() {
		select {
		case rings <- struct{}{}:
		default:
		}
	})
	return rings, func(d time.Duration) { timer.Reset(d) }, func() { timer.Stop() }
}

// wait waits for a run to end in time. The time is counted in steps, of which
// one that took long counts as two: this process was stopped meanwhile.
func (r *Runner) wait(ended <-chan Answer) (a Answer, over bool) {
	step := max(r.cfg.Timeout/8, 1)
	rings, again, stop := alarm(step)
	defer stop()
	at := time.Now()
	for left := r.cfg.Timeout; ; {
		select {
		case a := <-ended:
			return a, true
		case <-r.stop:
			return Answer{Err: errors.New("stopped: no time left")}, false
		case <-rings:
			took := time.Since(at)
			at = at.Add(took)
			left -= min(took, 2*step)
		}
		if left <= 0 {
			return Answer{Err: fmt.Errorf("stopped after %v", r.cfg.Timeout)}, false
		}
		again(min(step, left))
	}
}

// end ends the hook and what it has started in its process group. The group's
// number stays taken as long as a process of it lives, so no stranger is hit.
func end(group int, ended <-chan Answer) {
	_ = unix.Kill(-group, unix.SIGTERM) // ESRCH: it has just ended
	const look = 20 * time.Millisecond
	rings, again, stop := alarm(look)
	defer stop()
	deadline := time.Now().Add(killAfter)
	for reaped := false; !reaped || unix.Kill(-group, 0) == nil; {
		select {
		case <-ended:
			reaped = true
		case <-rings:
			again(look)
		}
		if time.Now().After(deadline) {
			_ = unix.Kill(-group, unix.SIGKILL)
			if !reaped {
				<-ended
			}
			return
		}
	}
}

// self is this program, whatever has become of its file meanwhile.
const self = "/proc/self/exe"

// stage is the name under which this program is started to become a hook. fork in Go
// is a vfork: until the child's exec is through, the processor that does it is not
// given to anybody else, and with a file on a disk that hangs the whole program
// would stand still. So what is executed in that moment is the program itself,
// which is there already; the child then executes the hook, and hangs alone.
const stage = "vigil-hook"

// report is the descriptor on which the child says why it did not become the hook.
const report = 3

func init() {
	if len(os.Args) == 2 && os.Args[0] == stage {
		unix.CloseOnExec(report)
		calm()
		err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
		errno, _ := err.(syscall.Errno)
		_, _ = unix.Write(report, []byte(strconv.Itoa(int(errno))))
		unix.Exit(127)
	}
}

// calm takes from a hook what its program may have for itself: a real-time priority, and
// the promise to be spared when memory runs out (wdping). Both are inherited.
func calm() {
	var attr unix.SchedAttr
	if a, err := unix.SchedGetAttr(0, 0); err == nil && (a.Policy == unix.SCHED_FIFO || a.Policy == unix.SCHED_RR) {
		attr.Size, attr.Policy = unix.SizeofSchedAttr, unix.SCHED_NORMAL
		_ = unix.SchedSetAttr(0, &attr, 0)
	}
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	b := make([]byte, 1)
	if n, err := unix.Pread(fd, b, 0); err == nil && n == 1 && b[0] == '-' {
		_, _ = unix.Write(fd, []byte("0"))
	}
}

// begin starts a program as the leader of a process group. Its end comes over the
// channel.
func begin(program string, env []string, output *os.File) (group int, ended <-chan Answer, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	defer unix.Close(null)
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, err
	}
	defer unix.Close(fds[1])
	out := output.Fd()
	pid, err := syscall.ForkExec(self, []string{stage, program}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{uintptr(null), out, out, uintptr(fds[1])},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		unix.Close(fds[0])
		return 0, nil, err
	}
	answer := make(chan Answer, 1)
	go func() { answer <- finish(pid, fds[0]) }()
	return pid, answer, nil
}

// finish waits for the end of a run, and tells one that never became the hook.
func finish(pid, report int) Answer {
	b := make([]byte, 8)
	n, _ := again(func() (int, error) { return unix.Read(report, b) }) // nothing: it did, or was ended before
	_ = unix.Close(report)
	var st syscall.WaitStatus
	if _, err := again(func() (int, error) { return syscall.Wait4(pid, &st, 0, nil) }); err != nil {
		return Answer{Err: err}
	}
	errno, err := strconv.Atoi(string(b[:max(n, 0)]))
	switch {
	case err == nil:
		return Answer{Err: fmt.Errorf("%w: %w", ErrStart, syscall.Errno(errno))}
	case st.Signaled():
		return Answer{Err: fmt.Errorf("signal: %s", st.Signal())}
	}
	return Answer{Status: st.ExitStatus()}
}

// again repeats what a signal interrupts.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}
