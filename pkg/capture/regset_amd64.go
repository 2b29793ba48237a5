package capture

import (
	"encoding/binary"

	"vigil/pkg/corefile"
)

const machine = corefile.MachineX8664

// regsets are the register sets of a thread, NT_PRSTATUS first
// (arch/x86/kernel/ptrace.c, x86_64_regsets).
var regsets = []regset{
	{"CORE", corefile.NTPrstatus, 27 * 8, nil},
	{"CORE", corefile.NTFpregset, 512, nil},
	{"LINUX", 0x202, 16 << 10, withoutTiles}, // NT_X86_XSTATE; 11008 bytes with AMX
}

// In an XSAVE area (Intel SDM volume 1, chapter 13; arch/x86/include/asm/user.h).
const (
	xsaveXCR0  = 464 // what the area has room for, left there by the kernel
	xsaveUsed  = 512 // XSTATE_BV: what is in use
	xsaveTiles = 1<<17 | 1<<18
	xsaveKeys  = 1 << 9 // PKRU, the last of what precedes the tiles
	xsaveSize  = 2688   // without both
	keysSize   = 8
)

// withoutTiles cuts the room for the tile registers of AMX off an XSAVE area
// in which they are not used: gdb before 14 takes no area that has it.
func withoutTiles(b []byte) []byte {
	if len(b) <= xsaveSize+keysSize {
		return b
	}
	used, xcr0 := binary.LittleEndian.Uint64(b[xsaveUsed:]), binary.LittleEndian.Uint64(b[xsaveXCR0:])
	if used&xsaveTiles != 0 || xcr0&xsaveTiles == 0 {
		return b
	}
	binary.LittleEndian.PutUint64(b[xsaveXCR0:], xcr0&^xsaveTiles)
	if xcr0&xsaveKeys == 0 {
		return b[:xsaveSize]
	}
	return b[:xsaveSize+keysSize]
}

const regSP = 19 * 8 // in the first of regsets

// threadArea is where the C library describes the thread: struct pthread, of 2368
// bytes in glibc 2.36, begins at fs_base, which is in struct user_regs_struct.
func threadArea(regs [][]byte) (addr, size uint64) {
	const fsBase = 21 * 8
	return le.Uint64(regs[0][fsBase:]), 4096
}
