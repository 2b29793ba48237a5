package ptrace

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// Child is a process that its parent traces from its first instruction on, to be
// there when it dies of a signal. It is for the thread that Run gives: the one
// that attached.
type Child struct {
	PID     int
	threads map[int]bool
}

// Fatal is told of a signal that will end the process with a core: thread tid
// is about to get it, with this siginfo_t. All threads but tid still run.
type Fatal func(tid int, sig unix.Signal, info [SiginfoSize]byte)

// Attach traces the child pid, which its parent, the caller, has started and
// which waits for something from it. Threads that it makes are traced, too;
// processes that it makes are not.
func Attach(pid int) (*Child, error) {
	const options = unix.PTRACE_O_TRACECLONE
	if err := ptrace(unix.PTRACE_SEIZE, pid, 0, options); err != nil {
		return nil, fmt.Errorf("pid %d: seize: %w", pid, err)
	}
	return &Child{PID: pid, threads: map[int]bool{pid: true}}, nil
}

// Wait lets the child run, with every signal as it would be without us, and
// returns how it ended. Before it ends by a signal that makes a core, fatal is
// called, once.
func (c *Child) Wait(fatal Fatal) (syscall.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("pid %d: wait: %w", c.PID, err)
		case !ws.Stopped():
			delete(c.threads, tid)
			if tid == c.PID {
				return syscall.WaitStatus(ws), nil
			}
		default:
			c.stopped(tid, ws, &fatal)
		}
	}
}

// stopped decides how a thread goes on that has come to a stop.
func (c *Child) stopped(tid int, ws unix.WaitStatus, fatal *Fatal) {
	sig := ws.StopSignal()
	switch event := int(ws >> 16); {
	case event == unix.PTRACE_EVENT_STOP && sig != unix.SIGTRAP:
		// It is to stay stopped, until a SIGCONT.
		ptrace(unix.PTRACE_LISTEN, tid, 0, 0)
		return
	case event == unix.PTRACE_EVENT_STOP && !c.threads[tid]:
		if _, err := os.Lstat("/proc/" + strconv.Itoa(c.PID) + "/task/" + strconv.Itoa(tid)); err != nil {
			// A process of its own, made by clone(2) with another signal than SIGCHLD.
			ptrace(unix.PTRACE_DETACH, tid, 0, 0)
			return
		}
		c.threads[tid] = true
	case event == 0 && *fatal != nil && c.ends(tid, sig):
		info, err := siginfo(tid)
		if err == nil { // else it was killed
			(*fatal)(tid, sig, info)
		}
		*fatal = nil
		if !c.threads[tid] {
			return // let go, by a Session
		}
		// It was not: nothing could be saved, and it dies all the same.
		ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig))
		return
	case event == 0:
		ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig))
		return
	}
	ptrace(unix.PTRACE_CONT, tid, 0, 0)
}

// makesCore are the signals whose default is to end a process with a core
// (signal(7)).
const makesCore = 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGILL-1) | 1<<(unix.SIGTRAP-1) | 1<<(unix.SIGABRT-1) | 1<<(unix.SIGBUS-1) |
	1<<(unix.SIGFPE-1) | 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGXCPU-1) | 1<<(unix.SIGXFSZ-1) | 1<<(unix.SIGSYS-1)

// ends says whether sig will end the process with a core. For a fault that is
// blocked or ignored the kernel has put the default in force by now.
func (c *Child) ends(tid int, sig unix.Signal) bool {
	if sig < 1 || sig > 31 || makesCore>>(sig-1)&1 == 0 {
		return false
	}
	st, err := procfs.ReadTaskStatus(c.PID, tid)
	return err == nil && (st.SigCgt|st.SigIgn)>>(sig-1)&1 == 0
}

// Adopt makes a session of the child, within Fatal: tid stands before the
// delivery of sig. Its Release lets all threads go; the process then dies of sig,
// and Wait gives that.
func (c *Child) Adopt(tid int, sig unix.Signal) (*Session, error) {
	s := &Session{pid: c.PID, known: map[int]*Thread{}, adopted: true}
	tids, err := procfs.Tasks(c.PID)
	if err != nil {
		return nil, err
	}
	for _, id := range tids {
		t := &Thread{TID: id}
		if id == tid {
			t.state, t.Signal, t.deliver = stopped, sig, sig
		} else if !c.threads[id] && s.dead(id) {
			continue
		}
		s.known[id] = t
		s.threads = append(s.threads, t)
	}
	if s.known[tid] == nil {
		return nil, fmt.Errorf("pid %d: thread %d ended: %w", c.PID, tid, fs.ErrNotExist)
	}
	clear(c.threads)
	return s, nil
}

// Die ends this process by sig, without a core of its own: for a parent whose
// child did, to pass that on. It returns if that cannot be: nothing ends the first
// process of a pid namespace from within.
func Die(sig unix.Signal) {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	// The kernel's own default, behind the back of the Go runtime: SIG_DFL and
	// nothing else is all zeroes in every struct sigaction.
	var none [64]byte
	rawSigaction(sig, &none)
	// To this thread: it is delivered before the call returns, or never.
	runtime.LockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
}
