package capture

import "vigil/pkg/corefile"

const machine = corefile.MachineAArch64

// regsets are the register sets of a thread, NT_PRSTATUS first
// (arch/arm64/kernel/ptrace.c, aarch64_regsets).
var regsets = []regset{
	{"CORE", corefile.NTPrstatus, 34 * 8, nil},
	{"CORE", corefile.NTFpregset, 528, nil},
	{"LINUX", 0x401, 16, nil},        // NT_ARM_TLS
	{"LINUX", 0x404, 4, nil},         // NT_ARM_SYSTEM_CALL
	{"LINUX", 0x405, 16 + 8768, nil}, // NT_ARM_SVE, at 2048 bits
	{"LINUX", 0x406, 16, nil},        // NT_ARM_PAC_MASK
}

const regSP = 31 * 8 // in the first of regsets

// threadArea is where the C library describes the thread: struct pthread ends at
// TPIDR_EL0, behind which the thread-local variables begin.
func threadArea(regs [][]byte) (addr, size uint64) {
	const before, behind = 4096, 16
	if len(regs[2]) < 8 {
		return 0, 0
	}
	return le.Uint64(regs[2]) - before, before + behind
}
