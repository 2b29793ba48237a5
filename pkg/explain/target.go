package explain

import (
	"errors"
	"io/fs"
	"sync"

	"vigil/pkg/control"
	"vigil/pkg/procfs"
)

// Target is the process that is explained. A pid alone does not name a process
// for long; together with its start time it does. Safe for concurrent use.
type Target struct {
	pidfile string // followed over restarts; "" for one fixed process

	mu    sync.Mutex
	pid   int
	start uint64      // ticks since boot
	mark  procfs.Mark // of the pidfile that named pid
}

// ByPID is the process that bears pid now; it never becomes another one. A pid
// that nobody bears matches fs.ErrNotExist.
func ByPID(pid int) (*Target, error) {
	st, err := procfs.ReadStat(pid)
	if err != nil {
		return nil, err
	}
	return &Target{pid: pid, start: st.StartTime}, nil
}

// ByPidfile is whatever process the file names at the time of a question. The
// file need not exist yet.
func ByPidfile(path string) *Target { return &Target{pidfile: path} }

// Find gives the target's stat. Its error is a *Refusal with Gone when there is
// no such process, also when another one bears its pid by now.
func (t *Target) Find() (procfs.Stat, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pid, m, owner := t.pid, t.mark, -1
	if t.pidfile != "" {
		named, err := procfs.ReadPidfile(t.pidfile)
		if err != nil {
			return procfs.Stat{}, control.Refuse(control.Gone, "%v", err)
		}
		pid, m, owner = named.PID, named.Mark, named.UID
	}
	st, err := procfs.ReadStat(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return st, control.Refuse(control.Gone, "%v", err)
	}
	if err != nil {
		return st, err
	}
	// The same file, not written since, names the same process, dead or alive.
	if t.pid == pid && t.mark == m && t.start != st.StartTime {
		return st, control.Refuse(control.Gone, "pid %d: another process has the number now", pid)
	}
	if owner > 0 {
		if err := owned(pid, owner); err != nil {
			return st, err
		}
	}
	t.pid, t.mark, t.start = pid, m, st.StartTime
	return st, nil
}

// same says whether st is of the process that was found before.
func same(a, b procfs.Stat) bool { return a.PID == b.PID && a.StartTime == b.StartTime }

// owned refuses a pidfile by which one user points at another user's process:
// whoever may write the file would learn of that process what we may see.
func owned(pid, owner int) error {
	st, err := procfs.ReadStatus(pid)
	if err != nil {
		return err
	}
	if st.UID[0] != owner {
		return control.Refuse(control.Gone, "pid %d: belongs to uid %d, and the pidfile to uid %d", pid, st.UID[0], owner)
	}
	return nil
}
