package procfs

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Process is a hold on the identity of one process: however often its pid is
// given out again later, Exited speaks of the one that was opened. It is not
// safe for concurrent use with Close.
type Process struct {
	PID       int
	StartTime uint64 // ticks since boot, as in Stat

	fd int // pidfd; -1 on a kernel before 5.3 or where a sandbox forbids it
}

// OpenProcess takes a hold on the process that bears pid now. A thread that is
// not the first of its process is refused. The caller closes it. It needs no
// rights over the target.
func OpenProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // that is how Go waits for it
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.PidfdOpen(pid, 0) // before 5.10, or not a process
	}
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		fd = -1
	case errors.Is(err, unix.ESRCH):
		return nil, goneError{pid}
	case err != nil:
		// EINVAL for a thread up to 6.14, ENOENT behind it.
		return nil, fmt.Errorf("pid %d: not a process", pid)
	}
	st, err := ReadStat(pid)
	p := &Process{PID: pid, StartTime: st.StartTime, fd: fd}
	if err == nil && fd >= 0 && st.State != 'Z' && p.Exited() {
		// It ended between the two calls: that stat may be another's.
		err = goneError{pid}
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// AdoptProcess makes a hold of a pidfd that somebody passed, which it owns from
// then on, also after an error. It is refused unless it speaks of pid.
func AdoptProcess(pid, fd int) (*Process, error) {
	p := &Process{PID: pid, fd: fd}
	fail := func(err error) (*Process, error) {
		p.Close()
		return nil, err
	}
	unix.CloseOnExec(fd)
	// Only a pidfd has such a line (Documentation/filesystems/proc.rst).
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return fail(fmt.Errorf("descriptor %d: %w", fd, err))
	}
	_, line, found := strings.Cut(string(b), "\nPid:\t")
	if line, _, _ = strings.Cut(line, "\n"); !found || line != strconv.Itoa(pid) {
		return fail(fmt.Errorf("descriptor %d: no pidfd of process %d", fd, pid))
	}
	st, err := ReadStat(pid)
	if err == nil && p.Exited() {
		err = goneError{pid}
	}
	if err != nil {
		return fail(err)
	}
	p.StartTime = st.StartTime
	return p, nil
}

// Wait returns when the process has ended. It costs no thread; where there is no
// pidfd, or none that can be waited for, it looks once a second. Close must not come
// before it has returned; see Waiter.
func (p *Process) Wait() { p.Waiter()() }

// Waiter returns what waits for the end of the process, once, on a descriptor of
// its own: p may be closed meanwhile.
func (p *Process) Waiter() (wait func()) {
	w := Process{PID: p.PID, StartTime: p.StartTime, fd: -1}
	if p.fd >= 0 {
		if fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			w.fd = fd
		}
	}
	return func() {
		if w.fd >= 0 {
			f := os.NewFile(uintptr(w.fd), "pidfd")
			defer f.Close()
			if conn, err := f.SyscallConn(); err == nil {
				_ = conn.Read(func(uintptr) bool { return w.Exited() })
			}
		}
		for !w.Exited() {
			time.Sleep(time.Second)
		}
	}
}

// Exited says whether the process has ended, reaped by its parent or not.
func (p *Process) Exited() bool {
	if p.fd < 0 {
		st, err := ReadStat(p.PID)
		return err != nil || st.StartTime != p.StartTime || st.State == 'Z' || st.State == 'X'
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// Signal sends it a signal. That it has ended matches fs.ErrNotExist.
func (p *Process) Signal(sig int) error {
	err := unix.PidfdSendSignal(p.fd, unix.Signal(sig), nil, 0)
	if p.fd < 0 {
		if p.Exited() {
			return goneError{p.PID}
		}
		err = unix.Kill(p.PID, unix.Signal(sig))
	}
	if err != nil {
		return wrap(p.PID, "signal", err)
	}
	return nil
}

// Close gives the hold up.
func (p *Process) Close() error {
	if p.fd < 0 {
		return nil
	}
	fd := p.fd
	p.fd = -1
	return unix.Close(fd)
}
