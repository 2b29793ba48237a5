package ptrace

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// callLimit is how long all threads may wait for a call in one of them.
const callLimit = time.Second

// badStack is what a copy of a process would use as its stack. It never runs;
// but if its tracer is killed before the copy is bound to it, the copy must end
// at its first step, not live on as a twin of the target.
const badStack = 8

// Copy is a process that the target was made to fork: its memory is that of the
// target at that moment, shared until one of both writes. It stands still, ends
// with the tracing thread, and is invisible for the target but for a zombie that
// End takes away.
type Copy struct {
	PID    int
	target int // pid of the target
	inside int // PID as the target's pid namespace has it
	site   Site
}

// fittest is the stopped thread in which a call is made best.
func (s *Session) fittest() *Thread {
	var best *Thread
	score := 0
	for _, t := range s.threads {
		if n := t.fitness(); n > score {
			best, score = t, n
		}
	}
	return best
}

// ready is the stopped thread in which a call can be made now.
func (s *Session) ready() (*Thread, error) {
	t := s.fittest()
	if t == nil {
		return nil, fmt.Errorf("no thread is fit for a call: %w", ErrCall)
	}
	return t, t.setOptions(filtered(s.pid, t.TID))
}

// Fork makes a stopped target fork. The error wraps ErrCall when no thread is in
// a state for it, or the kernel does not let the target fork (unix.EAGAIN,
// unix.ENOMEM); the target is then as before.
func (s *Session) Fork(site Site) (*Copy, error) {
	t, err := s.ready()
	if err != nil {
		return nil, err
	}
	late := false
	t.slow = func() { // the others shall not wait for what hangs
		late = true
		s.releaseBut(t)
	}
	// CLONE_FILES: no descriptor is held open a second time. No exit signal: the
	// target learns nothing. Not CLONE_PARENT: its supervisor would.
	ret, child, err := t.call(site, sysClone, unix.CLONE_FILES, badStack)
	t.slow = nil
	if child > 0 {
		err = errors.Join(err, bind(child))
	}
	c := &Copy{PID: child, target: s.pid, inside: int(ret), site: site}
	switch {
	case err != nil:
	case ret < 0:
		return nil, fmt.Errorf("fork: %w: %w", unix.Errno(-ret), ErrCall)
	case child <= 0:
		err = errors.New("fork: the copy was not seen")
	case late:
		err = fmt.Errorf("fork: not done within %v: %w", callLimit, ErrCall)
	default:
		return c, nil
	}
	if child > 0 {
		s.Release()
		err = errors.Join(err, c.End())
	}
	return nil, err
}

// bind waits for the copy to stand and binds its life to that of the tracer.
func bind(child int) error {
	t := &Thread{TID: child}
	for w := begin(); !t.poll(); {
		if w.spent() > callLimit {
			return fmt.Errorf("pid %d: the copy does not stop", child)
		}
		runtime.Gosched()
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, child, 0, unix.PTRACE_O_EXITKILL); err != nil {
		return fmt.Errorf("pid %d: bind the copy: %w", child, err)
	}
	return nil
}

// CloseFiles parts the copy from the descriptors that it has in common with the
// target. If that ends before the copy, its port is free and its peers see the end
// then, not when the copy is read. It is for the time after the release.
func (c *Copy) CloseFiles() error {
	const unshare = 1 << 1 // CLOSE_RANGE_UNSHARE
	t := &Thread{TID: c.PID, state: stopped, trapped: true}
	options := uintptr(unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD)
	if filtered(c.PID, c.PID) {
		options |= unix.PTRACE_O_SUSPEND_SECCOMP
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, c.PID, 0, options); err != nil {
		return fmt.Errorf("pid %d: options: %w", c.PID, err)
	}
	ret, _, err := t.call(c.site, sysCloseRange, 0, 1<<32-1, unshare)
	if err == nil && ret < 0 {
		err = fmt.Errorf("pid %d: close_range: %w", c.PID, unix.Errno(-ret)) // before Linux 5.9
	}
	return err
}

// setOptions sets what a call needs; they are set while a call is made; they end with the release.
func (t *Thread) setOptions(seccomp bool) error {
	options := uintptr(unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE)
	if seccomp {
		// A filter that kills on an unknown call would kill the target.
		options |= unix.PTRACE_O_SUSPEND_SECCOMP
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, t.TID, 0, options); err != nil {
		return fmt.Errorf("thread %d: seccomp filter cannot be suspended: %w: %w", t.TID, err, ErrCall)
	}
	return nil
}

// filtered says whether the thread has a seccomp filter; if in doubt, yes.
func filtered(pid, tid int) bool {
	st, err := procfs.ReadTaskStatus(pid, tid)
	return err != nil || st.Seccomp != 0
}

// End kills the copy and has the target take its zombie away. The error is not
// nil when the zombie stays: one that costs nothing but its pid, and that the
// next capture takes away.
func (c *Copy) End() error {
	unix.Kill(c.PID, unix.SIGKILL)
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(c.PID, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == c.PID && (ws.Exited() || ws.Signaled()) {
			break
		}
	}
	return Reap(c.target, c.site, c.inside)
}

// Reap has the process wait for its ended child, whose pid is that of its own
// namespace.
func Reap(pid int, site Site, child int) error {
	return borrow(pid, func(t *Thread) error {
		ret, _, err := t.call(site, sysWait4, uint64(child), 0, unix.WALL|unix.WNOHANG)
		switch {
		case err != nil:
			return err
		case ret < 0:
			return fmt.Errorf("pid %d: wait for %d: %w", pid, child, unix.Errno(-ret))
		case ret != int64(child):
			return fmt.Errorf("pid %d: wait for %d: it lives", pid, child)
		}
		return nil
	})
}

// borrowLimit is how long borrow tries to find a thread, and borrowTry how long
// it waits for one of them.
const (
	borrowLimit = 2 * time.Second
	borrowTry   = 200 * time.Millisecond
)

// borrow stops one thread that is fit for a call, sleeping ones first, calls f
// with it and lets it go. The others run on. It traces from a thread of its own,
// so that nothing that it could not let go is left behind.
func borrow(pid int, f func(*Thread) error) error {
	return Run(func() error {
		b := &borrower{pid: pid}
		defer b.end()
		return b.any(f)
	})
}

// borrower keeps the threads that were told to stop and did not yet: one that
// waits for a CPU cannot be let go, nor be seized a second time.
type borrower struct {
	pid  int
	late []*Thread
}

func (b *borrower) any(f func(*Thread) error) error {
	err := fmt.Errorf("pid %d: no thread is fit for a call: %w", b.pid, ErrCall)
	for w := begin(); w.spent() < borrowLimit; time.Sleep(time.Millisecond) {
		tids, rerr := procfs.Tasks(b.pid)
		if rerr != nil {
			return rerr
		}
		lives := false
		for _, sleeping := range []bool{true, false} {
			for i := len(tids) - 1; i >= 0; i-- {
				st, rerr := procfs.ReadTaskStat(b.pid, tids[i])
				lives = lives || rerr == nil && st.State != 'Z' && st.State != 'X'
				if rerr != nil || (st.State == 'S') != sleeping || st.State == 'D' || st.State == 'Z' || st.State == 'T' {
					continue
				}
				done, ferr := b.try(tids[i], f)
				if done {
					return ferr
				}
				if ferr != nil {
					err = ferr
				}
			}
		}
		if !lives {
			return fmt.Errorf("pid %d: ended: %w", b.pid, fs.ErrNotExist)
		}
	}
	return err
}

// try tells one thread to stop and waits a moment for it, or for another that
// was told before; done says that f was called.
func (b *borrower) try(tid int, f func(*Thread) error) (done bool, err error) {
	if !slices.ContainsFunc(b.late, func(t *Thread) bool { return t.TID == tid }) {
		if err := unix.PtraceSeize(tid); err != nil {
			return false, fmt.Errorf("pid %d: seize thread %d: %w", b.pid, tid, err)
		}
		ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
		b.late = append(b.late, &Thread{TID: tid})
	}
	for w := begin(); w.spent() < borrowTry; time.Sleep(20 * time.Microsecond) {
		i := slices.IndexFunc(b.late, (*Thread).poll)
		if i < 0 {
			continue
		}
		t := b.late[i]
		b.late = slices.Delete(b.late, i, i+1)
		done, ferr := b.lend(t, f)
		if done {
			return true, ferr
		}
		if ferr != nil {
			err = ferr
		}
		if t.TID == tid {
			break
		}
	}
	return false, err
}

// lend calls f with a thread that stands, if it is fit, and lets it go.
func (b *borrower) lend(t *Thread, f func(*Thread) error) (done bool, err error) {
	s := &Session{pid: b.pid, threads: []*Thread{t}, began: time.Now()}
	defer s.Release()
	if t.fitness() == 0 {
		return false, nil
	}
	if err := t.setOptions(filtered(b.pid, t.TID)); err != nil {
		return false, err
	}
	return true, f(t)
}

// end lets those go that stopped too late; the others go when the tracing thread
// ends.
func (b *borrower) end() {
	for _, t := range b.late {
		t.state = missed
	}
	(&Session{pid: b.pid, threads: b.late}).Release()
}

// Userfaultfd makes a userfaultfd(2) of the target's memory and takes it over;
// the target keeps no descriptor of it. All threads stand meanwhile: a child that
// one of them makes would inherit it, and a descriptor that one of them opens would
// not get the number that it has to. It always asks for UFFD_USER_MODE_ONLY:
// whether more is allowed is judged by the rights of the target. The error wraps
// ErrCall where there is no such thing. The pause is how long they stood.
func Userfaultfd(pid int, site Site) (file *os.File, pause time.Duration, err error) {
	err = Run(func() error {
		s, err := Seize(pid)
		if err != nil {
			return err
		}
		defer func() {
			s.Release()
			pause = s.Pause()
		}()
		defer Hurry()()
		if err := s.Stop(callLimit); err != nil {
			return fmt.Errorf("%w: %w", err, ErrCall)
		}
		t, err := s.ready()
		if err != nil {
			return err
		}
		t.slow = func() { s.releaseBut(t) }
		file, err = t.userfaultfd(pid, site)
		return err
	})
	if err != nil && file != nil {
		file.Close()
		file = nil
	}
	return file, pause, err
}

func (t *Thread) userfaultfd(pid int, site Site) (file *os.File, err error) {
	const userModeOnly = 1
	// Of the thread, not of the process: the first thread may have ended, and has no
	// descriptors any more.
	pidfd, err := unix.PidfdOpen(t.TID, unix.O_EXCL) // PIDFD_THREAD, from 6.9 on
	if err != nil {
		return nil, fmt.Errorf("pid %d: pidfd: %w: %w", pid, err, ErrCall)
	}
	defer unix.Close(pidfd)
	fd, _, err := t.call(site, sysUserfaultfd, unix.O_CLOEXEC|unix.O_NONBLOCK|userModeOnly)
	if err != nil {
		return nil, err
	}
	if fd < 0 {
		return nil, fmt.Errorf("pid %d: userfaultfd: %w: %w", pid, unix.Errno(-fd), ErrCall)
	}
	own, err := unix.PidfdGetfd(pidfd, int(fd), 0)
	if err == nil {
		file = os.NewFile(uintptr(own), "userfaultfd")
	} else {
		err = fmt.Errorf("pid %d: pidfd_getfd: %w: %w", pid, err, ErrCall)
	}
	_, _, cerr := t.call(site, sysClose, uint64(fd))
	return file, errors.Join(err, cerr)
}

// CloseDescriptor makes the process close one of its descriptors.
func CloseDescriptor(pid int, site Site, fd int) error {
	return borrow(pid, func(t *Thread) error {
		ret, _, err := t.call(site, sysClose, uint64(fd))
		if err == nil && ret < 0 {
			err = fmt.Errorf("pid %d: close %d: %w", pid, fd, unix.Errno(-ret))
		}
		return err
	})
}
