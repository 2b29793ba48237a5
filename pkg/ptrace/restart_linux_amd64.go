package ptrace

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	ntPrstatus = 1
	regsSize   = 27 * 8 // struct user_regs_struct

	regR10     = 7 * 8
	regRAX     = 10 * 8
	regOrigRAX = 15 * 8

	enterExtended = 1 << 3 // IORING_ENTER_EXT_ARG: the argument may hold a time limit

	eRestartNoHand = 514 // ERESTARTNOHAND: the call again, unless a handler runs
)

// restartWait spares the target a false EINTR. Of the calls that sleep, nearly
// all are restarted by the kernel behind a ptrace stop. Some are not (their code
// answers any wake-up with EINTR; signal(7) has a list), and programs that never
// expect a signal take that for a failure. Without a time limit, and nothing done
// yet, they can simply be called again; if a real signal with a handler waits as
// well, they still return EINTR.
func (t *Thread) restartWait() {
	var regs [regsSize]byte
	n, err := t.regset(unix.PTRACE_GETREGSET, ntPrstatus, regs[:])
	if err != nil || n != regsSize {
		return
	}
	reg := func(off int) uint64 { return binary.LittleEndian.Uint64(regs[off:]) }
	if int64(reg(regRAX)) != -int64(unix.EINTR) {
		return
	}
	var forever bool
	switch reg(regOrigRAX) {
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
		forever = int32(reg(regR10)) < 0
	case unix.SYS_EPOLL_PWAIT2, unix.SYS_SEMTIMEDOP:
		forever = reg(regR10) == 0
	case unix.SYS_SEMOP:
		forever = true
	case unix.SYS_RT_SIGTIMEDWAIT:
		forever = reg(regRDX) == 0
	case unix.SYS_IO_GETEVENTS:
		forever = reg(regR8) == 0
	case unix.SYS_IO_URING_ENTER:
		forever = reg(regR10)&enterExtended == 0
	}
	if forever {
		again := -int64(eRestartNoHand)
		binary.LittleEndian.PutUint64(regs[regRAX:], uint64(again))
		t.regset(unix.PTRACE_SETREGSET, ntPrstatus, regs[:])
	}
}
