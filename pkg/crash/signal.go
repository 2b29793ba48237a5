package crash

import "strconv"

// signals are the names of signal(7). Those that make no core can be sent as %s
// all the same, for a seccomp filter or a debugger may choose.
var signals = [...]string{
	1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
	"CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
}

// SignalName is the name of a signal as signal(7) has it.
func SignalName(n int) string {
	if n > 0 && n < len(signals) {
		return "SIG" + signals[n]
	}
	return strconv.Itoa(n)
}

// Codes of sigaction(2), si_code: those of one signal, from 1 on.
var codes = map[int][]string{
	4:  {"ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK", "ILL_BADIADDR"},
	8:  {"FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"},
	11: {"SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR", "SEGV_ACCADI", "SEGV_ADIDERR", "SEGV_ADIPERR", "SEGV_MTEAERR", "SEGV_MTESERR", "SEGV_CPERR"},
	7:  {"BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"},
	5:  {"TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"},
	31: {"SYS_SECCOMP", "SYS_USER_DISPATCH"},
}

var senders = map[int]string{0: "SI_USER", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO", -6: "SI_TKILL", 128: "SI_KERNEL"}

// codeName is the name of si_code for a signal.
func codeName(signal, code int) string {
	if name, ok := senders[code]; ok {
		return name
	}
	if list := codes[signal]; code > 0 && code <= len(list) {
		return list[code-1]
	}
	return strconv.Itoa(code)
}

// cause is a siginfo_t as far as it tells why a signal came (include/uapi/asm-generic/siginfo.h).
type cause struct {
	signal, code int
	address      uint64 // of the fault; for signals of the processor
	pid, uid     int    // who sent it; for signals of processes
}

func parseCause(siginfo []byte) (c cause, ok bool) {
	if len(siginfo) < 32 {
		return c, false
	}
	c.signal, c.code = int(int32(le.Uint32(siginfo))), int(int32(le.Uint32(siginfo[8:])))
	if c.sent() {
		c.pid, c.uid = int(int32(le.Uint32(siginfo[16:]))), int(int32(le.Uint32(siginfo[20:])))
	} else {
		c.address = le.Uint64(siginfo[16:])
	}
	return c, true
}

// sent says that a process sent the signal, itself perhaps.
func (c *cause) sent() bool { return c.code <= 0 }

// hasAddress says that the signal came of an instruction at, or an access to, address.
func (c *cause) hasAddress() bool { return c.code > 0 && c.code < 128 && codes[c.signal] != nil }
