// Package fence takes from a process what it does not need to read files that an
// enemy may have written: the rest of its life it can neither gain rights nor
// change a file, start a program, or eat the machine.
package fence

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Limits bound what a fenced process takes. Zero is none.
type Limits struct {
	CPU     uint64 // seconds
	Memory  uint64 // bytes of data: RLIMIT_DATA, for Go reserves addresses without end
	Written uint64 // bytes of a file
}

// noCore is what the kernel takes for a process that must not be dumped while
// one is (fs/coredump.c): 0 means the same only for a plain file.
const noCore = 1

// Become gives up root for a user, in all threads and for good, supplementary
// groups included. Unlike a program that is started as that user, this one can at
// no moment be looked into by the user's others: what it has open may be more than
// the user may see. It is killed with its parent.
func Become(uid, gid int) error {
	for _, err := range []error{hide(), syscall.Setgroups(nil), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid)} {
		if err != nil {
			return fmt.Errorf("uid %d, gid %d: %w", uid, gid, err)
		}
	}
	// The change has set both anew: the one to fs.suid_dumpable, the other to none.
	return errors.Join(hide(), unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0))
}

// hide keeps the processes of the same user from tracing this one (ptrace(2),
// PTRACE_MODE_ATTACH).
func hide() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// Enter fences the whole process in, for good: no_new_privs, the limits, no core,
// no tracer but root,
// and, where the kernel knows Landlock (5.13), no write to, and no making, removal
// or execution of, any file, besides what is open already. It is called before
// the process reads a byte from outside. An error other than of Landlock's
// absence means that it must not go on.
func Enter(l Limits) error {
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_CPU: l.CPU, unix.RLIMIT_DATA: l.Memory, unix.RLIMIT_FSIZE: l.Written, unix.RLIMIT_CORE: noCore,
	} {
		if limit == 0 {
			continue
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	if err := hide(); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	// Both are of a thread, and are to be of all.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	err := landlock()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// changes are the rights of the first version of Landlock but those to read.
const changes = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
	unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
	unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
	unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
	unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM

func landlock() error {
	// The first member alone is the struct of the first version (landlock(7)).
	rights := uint64(changes)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rights)), unsafe.Sizeof(rights), 0)
	if errno != 0 {
		return errno
	}
	ruleset := os.NewFile(fd, "landlock")
	defer ruleset.Close()
	// No rule is added: nothing is allowed of what the set handles.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
