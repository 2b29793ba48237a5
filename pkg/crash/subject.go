package crash

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"vigil/pkg/capture"
	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// notes is what the notes of a core tell of the process.
type notes struct {
	threads int
	sps     []uint64
	comm    string
	auxv    []byte
	cause   cause
	caused  bool // cause is known
}

// auxSecure is AT_SECURE: the program was started with rights that its user
// does not have (getauxval(3)).
const auxSecure = 23

func (n *notes) secure() bool {
	for b := n.auxv; len(b) >= 16; b = b[16:] {
		if le.Uint64(b) == auxSecure {
			return le.Uint64(b[8:]) != 0
		}
	}
	return false
}

// readNotes looks at the notes as far as they can be understood.
func readNotes(c *corefile.Core) (n notes) {
	// What follows an error is left out; no core is refused for it.
	_ = c.Notes(func(note corefile.Note) error {
		switch note.Type {
		case corefile.NTPrstatus:
			n.threads++
			if p, err := corefile.ParsePrstatus(note.Desc); err == nil {
				if sp, ok := capture.StackPointer(p.Regs); ok {
					n.sps = append(n.sps, sp)
				}
			}
		case corefile.NTPrpsinfo:
			// pr_fname, 16 bytes, in a struct of 136 (include/linux/elfcore.h).
			if len(note.Desc) == 136 {
				name, _, _ := bytes.Cut(note.Desc[40:56], []byte{0})
				n.comm = string(name)
			}
		case corefile.NTAuxv:
			n.auxv = bytes.Clone(note.Desc)
		case corefile.NTSiginfo:
			if !n.caused { // the first is that of the thread that crashed
				n.cause, n.caused = parseCause(note.Desc)
			}
		}
		return nil
	})
	return n
}

// subject is the process that crashed, as /proc shows it.
type subject struct {
	process *procfs.Process
	living  int // a thread that has not ended: what lies below the id of another shows no memory
	remains *capture.Remains

	stat   procfs.Stat
	status procfs.Status
	exe    string
	args   []string
	cgroup string
	root   string
	limits []procfs.Limit
}

// examine opens the process of e. It is refused unless it is certainly the one
// that the core is of: from before its memory is opened until afterwards it must
// be the process of the pidfd, or have the same start time; its core must be
// being taken; and the kernel must have started it with the same auxiliary
// vector, in which random addresses stand. A pid that was given out again,
// even to a process that crashes as well, fails there.
func examine(e *Event, n *notes) (*subject, error) {
	p, err := identify(e)
	if err != nil {
		return nil, err
	}
	s := &subject{process: p, living: someThread(e.PID)}
	if err := s.open(e, n); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func identify(e *Event) (*procfs.Process, error) {
	if e.PIDFD < 0 {
		return procfs.OpenProcess(e.PID)
	}
	return procfs.AdoptProcess(e.PID, e.PIDFD)
}

func (s *subject) open(e *Event, n *notes) (err error) {
	if err := s.same(); err != nil {
		return err
	}
	if s.stat, err = procfs.ReadStat(e.PID); err != nil {
		return err
	}
	if s.status, err = procfs.ReadStatus(e.PID); err != nil {
		return err
	}
	if s.remains, err = capture.OpenRemains(s.living); err != nil {
		return err
	}
	auxv, err := procfs.Auxv(s.living)
	if err != nil {
		return err
	}
	if len(n.auxv) == 0 || !bytes.Equal(auxv, n.auxv) {
		return fmt.Errorf("pid %d: is not the process of the core", e.PID)
	}
	s.read()
	return s.same()
}

// same says whether pid is still the process that it was, in the state that it
// was announced in.
func (s *subject) same() error {
	// Of a thread that has ended the kernel does not tell.
	st, err := procfs.ReadTaskStatus(s.process.PID, s.living)
	if err != nil {
		return err
	}
	stat, err := procfs.ReadStat(s.process.PID)
	if err != nil {
		return err
	}
	switch {
	case s.process.Exited(), stat.StartTime != s.process.StartTime:
		return fmt.Errorf("pid %d: ended: %w", s.process.PID, fs.ErrNotExist)
	case !st.Dumping:
		return fmt.Errorf("pid %d: its core is not being taken", s.process.PID)
	}
	return nil
}

// read takes what the description wants to tell. What cannot be read is left
// out of it.
func (s *subject) read() {
	s.exe, _ = procfs.Exe(s.living)
	s.args, _ = procfs.Cmdline(s.living)
	s.cgroup, _ = procfs.Cgroup(s.living)
	s.limits, _ = procfs.ReadLimits(s.living)
	s.root, _ = os.Readlink("/proc/" + strconv.Itoa(s.living) + "/root")
}

func (s *subject) close() error {
	var err error
	if s.remains != nil {
		err = s.remains.Close()
	}
	return errors.Join(err, s.process.Close())
}

// owns says whether every id of the process is the user's: else its core may
// hold what that user must not see.
func (s *subject) owns(uid, gid int) bool {
	for i := range s.status.UID {
		if s.status.UID[i] != uid || s.status.GID[i] != gid {
			return false
		}
	}
	return true
}

// someThread is the first thread of pid that has not ended: the one that is
// called like the process may have, before the others.
func someThread(pid int) int {
	tids, _ := procfs.Tasks(pid)
	for _, tid := range tids {
		if st, err := procfs.ReadTaskStat(pid, tid); err == nil && st.State != 'Z' && st.State != 'X' {
			return tid
		}
	}
	return pid
}

// program names what crashed, for the name of its files: the executable, or
// the name of the thread where that is not known.
func program(s *subject, n *notes) string {
	switch {
	case s != nil && s.exe != "":
		return filepath.Base(strings.TrimSuffix(s.exe, " (deleted)"))
	case n.comm != "":
		return n.comm
	}
	return "unknown"
}
