package ptrace

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSigaction sets what a signal does, behind the back of the Go runtime.
func rawSigaction(sig unix.Signal, action *[64]byte) {
	const setSize = 8 // of sigset_t in the kernel, on every 64-bit machine
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(action)), 0, setSize, 0, 0)
}
