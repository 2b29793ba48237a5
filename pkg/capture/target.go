// Package capture takes an ELF core of a live process and lets it go on.
//
// The parts are separate: what a process is and whether it may be captured
// (Target), the stop and its registers (hold, moment), which of its memory
// belongs into a core (image), the copy (copier, from a source to an Output), the
// core (writing), its file and its description (Save). A mode only arranges them.
package capture

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/spool"
)

// Target is a process that may be captured. The caller closes it.
type Target struct {
	PID      int
	Comm     string
	Exe      string // may end in " (deleted)"
	Dumpable bool   // else only -force got here, and the core is not for its user

	args    []string
	auxv    []byte // differs with each program that a process becomes
	stat    procfs.Stat
	status  procfs.Status
	process *procfs.Process

	// adopt gives the session of a target that the calling thread traces already,
	// and that dies when it is let go; nil for all others.
	adopt func() (*ptrace.Session, error)
}

// Open looks at the process and refuses what cannot, or must not, be captured:
// a thread's id, a kernel thread, a zombie, a 32-bit program, a process that
// another tracer holds and, unless force is set, one that is not dumpable (see
// procfs.Dumpable). The errors are meant for people; a process that does not
// exist is fs.ErrNotExist, missing rights are fs.ErrPermission (errors.Is).
func Open(pid int, force bool) (*Target, error) { return open(pid, force, nil) }

// OpenDying is Open for a child that the calling thread traces, and that stands
// before a signal which will end it; adopt gives its session, once. Its capture
// is in the mode stop, belongs to that same thread, and lets the child die.
func OpenDying(pid int, adopt func() (*ptrace.Session, error)) (*Target, error) {
	return open(pid, true, adopt)
}

func open(pid int, force bool, adopt func() (*ptrace.Session, error)) (*Target, error) {
	status, err := procfs.ReadStatus(pid)
	if err != nil {
		return nil, err
	}
	if status.TGID != pid {
		return nil, fmt.Errorf("pid %d: is a thread of PID %d", pid, status.TGID)
	}
	process, err := procfs.OpenProcess(pid)
	if err != nil {
		return nil, err
	}
	t := &Target{PID: pid, status: status, process: process, adopt: adopt}
	if err := t.inspect(force); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close ends the use of t.
func (t *Target) Close() error { return t.process.Close() }

func (t *Target) inspect(force bool) (err error) {
	if t.stat, err = procfs.ReadStat(t.PID); err != nil {
		return err
	}
	t.Comm = t.stat.Comm
	switch {
	case t.stat.Kernel():
		return fmt.Errorf("pid %d: is a kernel thread: it has no memory of its own", t.PID)
	case t.process.Exited():
		return fmt.Errorf("pid %d: is a zombie: its memory is gone", t.PID)
	case t.status.TracerPID != 0 && t.adopt == nil:
		return t.traced(t.status.TracerPID)
	}
	id := t.living()
	if t.Dumpable, err = procfs.Dumpable(id, t.status.UID[1]); err != nil {
		return err
	}
	if t.Exe, err = procfs.Exe(id); err != nil {
		return t.explain(err)
	}
	if t.auxv, err = procfs.Auxv(id); err != nil {
		return t.explain(err)
	}
	if !t.Dumpable && !force {
		return fmt.Errorf("pid %d: is not dumpable (it changed its uid, or asked for it with PR_SET_DUMPABLE): it may hold secrets; -force captures it", t.PID)
	}
	if t.args, err = procfs.Cmdline(id); err != nil {
		return err
	}
	return t.checkClass(id)
}

// living is the id of a thread that lives. The first thread may have ended
// before the others: then /proc shows no memory below the id of the process.
func (t *Target) living() int {
	if t.stat.State != 'Z' {
		return t.PID
	}
	tids, _ := procfs.Tasks(t.PID)
	for _, tid := range tids {
		if st, err := procfs.ReadTaskStat(t.PID, tid); err == nil && st.State != 'Z' && st.State != 'X' {
			return tid
		}
	}
	return t.PID
}

// checkClass refuses a program whose registers have another form. A target
// whose file cannot be opened passes; its registers tell it later.
func (t *Target) checkClass(id int) error {
	f, err := os.Open("/proc/" + strconv.Itoa(id) + "/exe")
	if err != nil {
		return nil
	}
	defer f.Close()
	var ident [5]byte
	if _, err := io.ReadFull(f, ident[:]); err == nil && string(ident[:4]) == "\x7fELF" && ident[4] == 1 {
		return t.not64()
	}
	return nil
}

func (t *Target) not64() error { return fmt.Errorf("pid %d: is a 32-bit program", t.PID) }

func (t *Target) gone() error { return fmt.Errorf("pid %d: ended: %w", t.PID, fs.ErrNotExist) }

// lost is the error for a process that has ended, or become another program: what a
// capture stumbled over then says little. An error of its output stays what it is.
func (t *Target) lost(err error) error {
	var output *fs.PathError
	if t.adopt == nil && t.process.Exited() && !errors.As(err, &output) {
		return t.gone()
	}
	return t.became(t.living())
}

// became is the error for a process that has become another program (execve(2))
// since it was opened; nil for all others. What is known of it does not hold.
func (t *Target) became(id int) error {
	if now, err := procfs.Auxv(id); err != nil || t.auxv == nil || bytes.Equal(now, t.auxv) {
		return nil
	}
	return fmt.Errorf("pid %d: became another program meanwhile", t.PID)
}

// traced names the process whose thread is the tracer.
func (t *Target) traced(tracer int) error {
	if st, err := procfs.ReadStatus(tracer); err == nil {
		tracer = st.TGID
	}
	if comm, err := procfs.Comm(tracer, tracer); err == nil {
		return fmt.Errorf("pid %d: traced by PID %d (%s)", t.PID, tracer, comm)
	}
	return fmt.Errorf("pid %d: traced by PID %d", t.PID, tracer)
}

// explain turns a refusal of the kernel into its probable reason.
func (t *Target) explain(err error) error {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	if now, rerr := procfs.ReadStatus(t.PID); rerr == nil && now.TracerPID != 0 {
		return t.traced(now.TracerPID)
	}
	d := denial{uid: os.Geteuid(), target: t.status.UID, dumpable: t.Dumpable, filtered: ptrace.Filtered()}
	if own, rerr := procfs.ReadStatus(os.Getpid()); rerr == nil {
		d.capable = own.CapEff>>capSysPtrace&1 == 1
	}
	if b, rerr := os.ReadFile(yamaScope); rerr == nil {
		d.scope = strings.TrimSpace(string(b))
	}
	return &Denied{t.PID, d.reason()}
}

// Denied is reported (errors.As) where the kernel does not let this program
// trace the target; it is fs.ErrPermission (errors.Is).
type Denied struct {
	PID    int
	Reason string // the probable one
}

func (d *Denied) Error() string { return fmt.Sprintf("pid %d: %s: permission denied", d.PID, d.Reason) }

// Is makes it fs.ErrPermission.
func (d *Denied) Is(target error) bool { return target == fs.ErrPermission }

const (
	capSysPtrace = 19
	yamaScope    = "/proc/sys/kernel/yama/ptrace_scope"
)

// denial is what decides whether the kernel lets one process trace another:
// ptrace_may_access in kernel/ptrace.c, security/yama/yama_lsm.c.
type denial struct {
	uid      int    // effective uid of this program
	capable  bool   // it has CAP_SYS_PTRACE
	target   [4]int // uids of the target
	dumpable bool
	filtered bool   // a seccomp filter refuses the system call itself
	scope    string // content of yamaScope; "" where Yama is not built in
}

func (d denial) reason() string {
	foreign := false
	for _, uid := range d.target[:3] {
		foreign = foreign || uid != d.uid
	}
	switch {
	case d.filtered:
		return "the seccomp profile of this program, or of its container, forbids ptrace"
	case d.scope == "3":
		return "kernel.yama.ptrace_scope is 3, which forbids ptrace to everybody until the next boot"
	case d.capable:
		return "a security module or a user namespace forbids ptrace"
	case foreign:
		return fmt.Sprintf("it runs as uid %d, this is uid %d without CAP_SYS_PTRACE", d.target[1], d.uid)
	case !d.dumpable:
		return "it is not dumpable, and this is not root"
	case d.scope == "1" || d.scope == "2":
		return "kernel.yama.ptrace_scope is " + d.scope + ", which leaves ptrace to root (CAP_SYS_PTRACE)"
	}
	return "a security module forbids ptrace"
}

// Name is the file name for a core of this process, taken at that time.
func (t *Target) Name(at time.Time) string { return spool.Base(t.Comm, t.PID, at) + ".core" }
