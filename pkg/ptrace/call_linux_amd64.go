package ptrace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

var callInstruction = []byte{0x0f, 0x05} // syscall

const (
	sysClone       = unix.SYS_CLONE
	sysWait4       = unix.SYS_WAIT4
	sysClose       = unix.SYS_CLOSE
	sysCloseRange  = unix.SYS_CLOSE_RANGE
	sysUserfaultfd = unix.SYS_USERFAULTFD
)

// Offsets in struct user_regs_struct beside those of restartWait.
const (
	regR9  = 8 * 8
	regR8  = 9 * 8
	regRDX = 12 * 8
	regRSI = 13 * 8
	regRDI = 14 * 8
	regRIP = 16 * 8
	regCS  = 17 * 8

	userCS = 0x33 // __USER_CS: 64-bit code
)

// argumentRegs hold the arguments of a call.
var argumentRegs = [6]int{regRDI, regRSI, regRDX, regR10, regR8, regR9}

// Codes with which the kernel keeps in mind to make a call again
// (include/linux/errno.h).
const (
	eRestartSys      = 512
	eRestartNoIntr   = 513
	eRestartBlock    = 516
	ptraceRseq       = 0x420f // PTRACE_GET_RSEQ_CONFIGURATION, from 5.13 on
	ptraceDispatch   = 0x4211 // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, from 6.4 on
	rseqCriticalAt   = 8      // offset of rseq_cs in struct rseq
	stopEvent        = unix.PTRACE_EVENT_STOP
	ptraceSetSigmask = ptraceGetSigmask + 1
	syscallStop      = unix.SIGTRAP | 0x80 // with PTRACE_O_TRACESYSGOOD
)

// fitness says how well a call can be made in the thread; 0: not at all. It
// must be in a stop that PTRACE_INTERRUPT brought, so that the kernel's own
// restart of the interrupted call comes after ours. A thread within a call is
// better than one in user mode, which may be amid a restartable sequence
// (rseq(2)): the kernel would forget that it has to be aborted.
func (t *Thread) fitness() int {
	var regs [regsSize]byte
	if t.state != stopped || !t.trapped {
		return 0
	}
	if n, err := t.regset(unix.PTRACE_GETREGSET, ntPrstatus, regs[:]); err != nil || n != regsSize {
		return 0
	}
	reg := func(off int) int64 { return int64(binary.LittleEndian.Uint64(regs[off:])) }
	switch {
	case reg(regCS) != userCS, t.dispatched():
		return 0
	case reg(regOrigRAX) < 0:
		if t.inSequence() {
			return 0
		}
		return 1
	}
	switch -reg(regRAX) {
	case eRestartSys, eRestartNoIntr:
		return 5
	case eRestartNoHand:
		return 4
	case eRestartBlock:
		return 2
	}
	return 3
}

// dispatched says whether calls of the thread end in a handler of its own
// (PR_SET_SYSCALL_USER_DISPATCH): ours would kill it.
func (t *Thread) dispatched() bool {
	var config [4]uint64 // mode, selector, offset, length
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceDispatch, uintptr(t.TID), unsafe.Sizeof(config), uintptr(unsafe.Pointer(&config)), 0, 0)
	return errno == 0 && config[0] != 0
}

// inSequence says whether the thread may be amid a restartable sequence.
func (t *Thread) inSequence() bool {
	var config [3]uint64 // address of struct rseq; size, signature, flags
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceRseq, uintptr(t.TID), unsafe.Sizeof(config), uintptr(unsafe.Pointer(&config)), 0, 0)
	if errno != 0 || config[0] == 0 {
		return false
	}
	var critical [8]byte
	return !transfer(unix.SYS_PROCESS_VM_READV, t.TID, critical[:], config[0]+rseqCriticalAt) || critical != [8]byte{}
}

// call makes one system call in a thread that is fit, and leaves it in the same
// kind of stop with its registers and its signal mask as they were. All signals
// are blocked meanwhile; one that cannot be is sent again at the release. ret is
// what the kernel returned, a negative errno included; child is the process that
// a clone made.
//
// The site may be stale: since it was found, the process may have become another
// one (execve(2)), or have given up a library.
func (t *Thread) call(site Site, nr uint64, args ...uint64) (ret int64, child int, err error) {
	var regs, saved [regsSize]byte
	if n, err := t.regset(unix.PTRACE_GETREGSET, ntPrstatus, saved[:]); err != nil || n != regsSize {
		return 0, 0, fmt.Errorf("thread %d: registers: %w", t.TID, errors.Join(err, ErrCall))
	}
	var mask uint64
	if err := t.sigmask(ptraceGetSigmask, &mask); err != nil {
		return 0, 0, err
	}
	if !t.holds(site.plain, callInstruction) {
		return 0, 0, fmt.Errorf("thread %d: its code has changed: %w", t.TID, ErrCall)
	}
	g := t.newGuard(site, saved[:], mask)
	regs = saved
	set := func(off int, v uint64) { binary.LittleEndian.PutUint64(regs[off:], v) }
	set(regRIP, site.plain)
	set(regRAX, nr)
	set(regOrigRAX, ^uint64(0)) // nothing to restart
	args = append(args, make([]uint64, 6)...)
	for i, off := range argumentRegs {
		set(off, args[i])
	}
	if g != nil {
		// Begun as the return from the guard, which any filter of system calls lets
		// pass, and turned into the call at its entry (enter).
		set(regRIP, site.returning)
		set(regRSP, g.at+frameStride)
		set(regRAX, unix.SYS_RT_SIGRETURN)
	}
	enter := func() error {
		if n, err := t.regset(unix.PTRACE_GETREGSET, ntPrstatus, regs[:]); err != nil || n != regsSize {
			return fmt.Errorf("thread %d: registers: %w", t.TID, errors.Join(err, ErrCall))
		}
		set(regOrigRAX, nr)
		if g != nil {
			set(regRSP, g.at)
		}
		return t.setRegs(regs[:])
	}
	// In this order, so that whenever the tracer is killed the thread has its own
	// signal mask, or the frame of the guard ahead of it.
	defer func() {
		err = errors.Join(err, t.sigmask(ptraceSetSigmask, &mask), t.setRegs(saved[:]))
		if g != nil {
			g.clear(t.TID)
		}
		if g != nil && child > 0 {
			g.clear(child)
		}
	}()
	if err := t.setRegs(regs[:]); err != nil {
		return 0, 0, err
	}
	most := ^uint64(faults)
	if err := t.sigmask(ptraceSetSigmask, &most); err != nil {
		return 0, 0, err
	}
	return t.through(enter)
}

// holds says whether some code still is where it was.
func (t *Thread) holds(addr uint64, code []byte) bool {
	b := make([]byte, len(code))
	return transfer(unix.SYS_PROCESS_VM_READV, t.TID, b, addr) && bytes.Equal(b, code)
}

// faults are the signals of a thread's own doing. They are not blocked in a call:
// for one that is blocked, the kernel would take the handler away as well.
const faults = 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGILL-1) | 1<<(unix.SIGFPE-1) | 1<<(unix.SIGTRAP-1)

// fault says whether the thread stands before such a signal, and nobody sent it.
func (t *Thread) fault(sig unix.Signal) bool {
	if sig > 31 || faults>>(sig-1)&1 == 0 {
		return false
	}
	info, err := siginfo(t.TID)
	return err == nil && int32(binary.LittleEndian.Uint32(info[8:])) > 0 // si_code
}

func (t *Thread) setRegs(regs []byte) error {
	if _, err := t.regset(unix.PTRACE_SETREGSET, ntPrstatus, regs); err != nil {
		return fmt.Errorf("thread %d: registers: %w", t.TID, err)
	}
	return nil
}

// through leads the thread through its call: to its entry, where enter is asked, to
// its exit, and into the stop that PTRACE_INTERRUPT brings. Not by single steps: their trap
// resets the handler of a program that blocks SIGTRAP.
func (t *Thread) through(enter func() error) (ret int64, child int, err error) {
	request, entered, left := unix.PTRACE_SYSCALL, false, false
	for {
		if err := ptrace(request, t.TID, 0, 0); err != nil {
			return 0, 0, fmt.Errorf("thread %d: continue: %w", t.TID, err)
		}
		ws, err := t.await()
		if err != nil {
			return 0, 0, err
		}
		event, sig := int(ws>>16), ws.StopSignal()
		switch {
		case event == unix.PTRACE_EVENT_CLONE:
			if n, err := unix.PtraceGetEventMsg(t.TID); err == nil {
				child = int(n)
			}
		case event == 0 && sig == syscallStop && !entered:
			entered = true
			if err := enter(); err != nil {
				return 0, 0, err
			}
		case event == 0 && sig == syscallStop && !left:
			left = true
			var regs [regsSize]byte
			if _, err := t.regset(unix.PTRACE_GETREGSET, ntPrstatus, regs[:]); err != nil {
				return 0, 0, err
			}
			ret = int64(binary.LittleEndian.Uint64(regs[regRAX:]))
			ptrace(unix.PTRACE_INTERRUPT, t.TID, 0, 0)
			request = unix.PTRACE_CONT
		case event == stopEvent && left:
			return ret, child, nil
		case event == stopEvent:
			// A trap that was on its way, or the group stops: not yet.
		case event == 0 && t.fault(sig):
			return 0, 0, fmt.Errorf("thread %d: %v at the call: %w", t.TID, sig, ErrCall)
		case event == 0:
			t.again = append(t.again, sig) // SIGSTOP as a rule
		}
	}
}

// await waits for the next stop of the thread. A call that hangs, on a lock that
// a thread in uninterruptible sleep holds, must not hold all the others.
func (t *Thread) await() (unix.WaitStatus, error) {
	for w := begin(); ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(t.TID, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.state = gone
			return 0, fmt.Errorf("thread %d: %w", t.TID, err)
		case tid != 0 && !ws.Stopped():
			t.state = gone
			return 0, fmt.Errorf("thread %d: %w", t.TID, unix.ESRCH)
		case tid != 0:
			return ws, nil
		}
		spent := w.spent()
		if spent > callLimit && t.slow != nil {
			t.slow()
		}
		if spent < spin {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond)
		}
	}
}
