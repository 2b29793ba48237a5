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
