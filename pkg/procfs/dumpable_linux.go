package procfs

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dumpable says whether the process may be dumped for its own user. It may not
// after prctl(PR_SET_DUMPABLE, 0), after an exec of a set-uid or unreadable
// program, and after it changed its uid without an exec: then it may hold
// secrets that its user must not see. euid is its effective uid.
//
// The kernel does not show the flag itself. It shows in the owner of the files
// in /proc/PID, which is root for such a process (task_dump_owner in
// fs/proc/base.c); for a process of root it shows only in what root may do
// without CAP_SYS_PTRACE.
func Dumpable(pid, euid int) (bool, error) {
	if euid != 0 {
		info, err := os.Stat(path(pid, "maps"))
		if err != nil {
			return false, wrap(pid, "maps", err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		return ok && int(st.Uid) == euid, nil
	}
	if os.Geteuid() != 0 {
		return true, nil // of no concern: this reader may not trace it at all
	}
	type answer struct {
		ok  bool
		err error
	}
	done := make(chan answer, 1)
	go func() {
		// Capabilities belong to the thread; this one ends with them.
		runtime.LockOSThread()
		ok, err := visibleWithoutPtrace(pid)
		done <- answer{ok, err}
	}()
	a := <-done
	return a.ok, a.err
}

// visibleWithoutPtrace gives CAP_SYS_PTRACE up for the time of one harmless
// question that the kernel answers only to those who may look into pid.
func visibleWithoutPtrace(pid int) (bool, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return false, wrap(pid, "capget", err)
	}
	without := caps
	without[unix.CAP_SYS_PTRACE/32].Effective &^= 1 << (unix.CAP_SYS_PTRACE % 32)
	if err := unix.Capset(&head, &without[0]); err != nil {
		return false, wrap(pid, "capset", err)
	}
	var list, length uintptr
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(pid), uintptr(unsafe.Pointer(&list)), uintptr(unsafe.Pointer(&length)))
	// If the goroutine got the first thread of the program, it does not end.
	if err := unix.Capset(&head, &caps[0]); err != nil {
		return false, wrap(pid, "capset", err)
	}
	if errno != 0 && !errors.Is(errno, unix.EPERM) && !errors.Is(errno, unix.ENOSYS) {
		return false, wrap(pid, "get_robust_list", errno)
	}
	return errno != unix.EPERM, nil
}
