package capture

import "vigil/pkg/corefile"

const machine = corefile.MachineX8664

// regsets are the register sets of a thread, NT_PRSTATUS first
// (arch/x86/kernel/ptrace.c, x86_64_regsets).
var regsets = []regset{
	{"CORE", corefile.NTPrstatus, 27 * 8},
	{"CORE", corefile.NTFpregset, 512},
	{"LINUX", 0x202, 16 << 10}, // NT_X86_XSTATE; 11008 bytes with AMX
}
