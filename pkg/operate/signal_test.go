package operate

import (
	"syscall"
	"testing"
)

// TestNumbers: the numbers are those of this machine; mips has its own.
func TestNumbers(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "TRAP": syscall.SIGTRAP, "BUS": syscall.SIGBUS, "USR1": syscall.SIGUSR1, "SEGV": syscall.SIGSEGV, "USR2": syscall.SIGUSR2,
		"TERM": syscall.SIGTERM, "CHLD": syscall.SIGCHLD, "CONT": syscall.SIGCONT, "STOP": syscall.SIGSTOP, "WINCH": syscall.SIGWINCH, "URG": syscall.SIGURG,
		"IO": syscall.SIGIO, "PWR": syscall.SIGPWR, "SYS": syscall.SIGSYS, "XFSZ": syscall.SIGXFSZ, "SIGHUP": 0, "NOPE": 0,
	} {
		if got := number(name); got != int(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
