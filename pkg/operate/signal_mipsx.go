//go:build mips || mipsle || mips64 || mips64le

package operate

// signalNames are the names of signals 1 to 31, as signal(7) has them for this
// machine.
const signalNames = "HUP INT QUIT ILL TRAP ABRT EMT FPE KILL BUS SEGV SYS PIPE ALRM TERM USR1 USR2 CHLD PWR WINCH URG IO STOP TSTP CONT TTIN TTOU VTALRM PROF XCPU XFSZ"
