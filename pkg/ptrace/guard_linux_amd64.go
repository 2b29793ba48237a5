package ptrace

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the code of a process holds as a rule: the system call wrappers of its C
// library or of Go's runtime, and what their signal handlers return to.
var (
	callReturn    = []byte{0x0f, 0x05, 0xc3}                                     // syscall; ret
	handlerReturn = []byte{0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05} // mov $15, %rax; syscall
)

// The frame that rt_sigreturn(2) takes: struct ucontext with a struct
// sigcontext_64 in it (arch/x86/include/uapi/asm/ucontext.h, sigcontext.h).
const (
	frameSize   = 8 + 304 // the address to return to precedes it
	frameFlags  = 8
	frameStack  = 8 + 16 // uc_stack
	frameRegs   = 8 + 40 // uc_mcontext
	frameSel    = frameRegs + 18*8
	frameMask   = 8 + 296 // uc_sigmask
	redZone     = 128
	useSS       = 2 | 4 // UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
	noSuchMode  = 0x55  // ss_flags that sigaltstack(2) refuses, so that the kernel leaves it alone
	ntShadow    = 0x204 // NT_X86_SHSTK
	regRSP      = 19 * 8
	regEflags   = 18 * 8
	regSS       = 20 * 8
	regRCX      = 11 * 8
	regRBP      = 4 * 8
	regRBX      = 5 * 8
	callSize    = 2 // bytes of the instruction
	sysRestart  = unix.SYS_RESTART_SYSCALL
	stackAlign  = 16
	frameStride = 8
)

// frameOrder are the registers of sigcontext_64 in their order.
var frameOrder = [18]int{
	regR8, regR9, 7 * 8, 6 * 8, 3 * 8, 2 * 8, 1 * 8, 0 * 8, // r8 to r15
	regRDI, regRSI, regRBP, regRBX, regRDX, regRAX, regRCX, regRSP, regRIP, regEflags,
}

// guard is a frame below the stack of a thread, beyond what its code may use
// (the red zone of the System V ABI). The call returns into it, and the kernel
// restores from it what the tracer would have restored, should that be killed in
// the middle of the call. Only the vector registers are lost then, which no
// caller of a system call relies on; a thread that is in none is the last choice.
type guard struct {
	at  uint64
	old [frameSize]byte
}

// newGuard writes the frame. It is nil where there is no way to do so.
func (t *Thread) newGuard(site Site, saved []byte, mask uint64) *guard {
	if site.returning == 0 || site.restore == 0 || t.shadowed() || !t.holds(site.returning, callReturn) || !t.holds(site.restore, handlerReturn) {
		return nil
	}
	reg := func(off int) uint64 { return binary.LittleEndian.Uint64(saved[off:]) }
	g := &guard{at: (reg(regRSP)-redZone-frameSize)&^(stackAlign-1) - frameStride}
	if !transfer(unix.SYS_PROCESS_VM_READV, t.TID, g.old[:], g.at) {
		return nil
	}
	var f [frameSize]byte
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(f[off:], v) }
	put(0, site.restore)
	put(frameFlags, useSS)
	put(frameStack+8, noSuchMode)
	for i, off := range frameOrder {
		put(frameRegs+8*i, reg(off))
	}
	// rt_sigreturn leads to no restart of a call, so the frame begins it anew.
	if int64(reg(regOrigRAX)) >= 0 {
		again := reg(regOrigRAX)
		switch -int64(reg(regRAX)) {
		case eRestartBlock:
			again = sysRestart
			fallthrough
		case eRestartSys, eRestartNoIntr, eRestartNoHand:
			put(frameRegs+8*13, again)
			put(frameRegs+8*16, reg(regRIP)-callSize)
		}
	}
	put(frameSel, userCS|reg(regSS)<<48)
	put(frameMask, mask)
	if !transfer(unix.SYS_PROCESS_VM_WRITEV, t.TID, f[:], g.at) {
		return nil
	}
	return g
}

// clear puts back what the frame covers, in the thread's process or in a copy.
func (g *guard) clear(tid int) { transfer(unix.SYS_PROCESS_VM_WRITEV, tid, g.old[:], g.at) }

// shadowed says whether returns of the thread are checked (CET).
func (t *Thread) shadowed() bool {
	var ssp [8]byte
	n, err := t.regset(unix.PTRACE_GETREGSET, ntShadow, ssp[:])
	return err == nil && n == len(ssp) && ssp != [8]byte{}
}

// transfer reads or writes memory of a process.
func transfer(call uintptr, tid int, b []byte, addr uint64) bool {
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(b)}
	n, _, errno := unix.Syscall6(call, uintptr(tid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	return errno == 0 && int(n) == len(b)
}
