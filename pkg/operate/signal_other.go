//go:build !mips && !mipsle && !mips64 && !mips64le

package operate

// signalNames are the names of signals 1 to 31, as signal(7) has them.
const signalNames = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
