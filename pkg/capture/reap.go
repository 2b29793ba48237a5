package capture

import (
	"strings"
	"time"

	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// reapLeft takes away what a capture left behind that was killed before it could
// clear up: a zombie child of the target. It is to be called within ptrace.Run.
func (j *job) reapLeft(site ptrace.Site) {
	children, err := procfs.Children(j.PID)
	if err != nil {
		return
	}
	depth := len(j.status.NSPID) - 1
	for _, pid := range children {
		st, err := procfs.ReadStat(pid)
		if err != nil || !leftover(st, j.stat) {
			continue
		}
		if status, err := procfs.ReadStatus(pid); err == nil && depth >= 0 && depth < len(status.NSPID) {
			ptrace.Reap(j.PID, site, status.NSPID[depth]) // or the next one does
		}
	}
}

// leftover says whether a child looks like a copy that lost its tracer: a zombie
// of whose end the target was not to learn, named like it, for it never ran
// another program, and killed.
func leftover(child, target procfs.Stat) bool {
	const sigkill, sigsegv = 9, 11
	how := child.ExitCode & 0x7f
	return child.State == 'Z' && child.ExitSignal == 0 && child.PPID == target.PID && child.Comm == target.Comm && (how == sigkill || how == sigsegv)
}

// closeLeft closes a userfaultfd that a capture left in the target when it was
// killed just before it could do that itself: one to which nobody has said a word
// (UFFDIO_API), nor says one soon. To a program it is of no use yet.
func (j *job) closeLeft(id, fd int) bool {
	const soon = 20 * time.Millisecond
	for range 2 {
		// version:features in use:features there are
		f := strings.Split(procfs.DescriptorInfo(id, fd, "API"), ":")
		if len(f) != 3 || f[1] != "0" {
			return false
		}
		time.Sleep(soon)
	}
	return ptrace.CloseDescriptor(j.PID, j.site, fd) == nil
}
