package explain

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/rundir"
)

// Target is the process that is explained. A pid alone does not name a process
// for long; together with its start time it does. Safe for concurrent use.
type Target struct {
	pidfile string // followed over restarts; "" for one fixed process

	mu    sync.Mutex
	pid   int
	start uint64 // ticks since boot
	mark  mark   // of the pidfile that named pid
}

// mark changes whenever a file is written or replaced.
type mark struct {
	dev, ino uint64
	mtime    int64
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
		var err error
		if pid, m, owner, err = readPidfile(t.pidfile); err != nil {
			return procfs.Stat{}, control.Refuse(control.Gone, "%v", err)
		}
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

// readPidfile gives the pid that a file names. The path is the operator's:
// symbolic links are followed, but a FIFO or a device is refused without
// waiting for it. owner is the user who vouches for it.
func readPidfile(path string) (pid int, m mark, owner int, err error) {
	fail := func(format string, a ...any) (int, mark, int, error) {
		return 0, mark{}, 0, fmt.Errorf("%s: pidfile: "+format, append([]any{path}, a...)...)
	}
	f, err := rundir.OpenKind(path, os.O_RDONLY, syscall.S_IFREG)
	if err != nil {
		return fail("open: %w", errors.Unwrap(err))
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return fail("stat: %w", err)
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return fail("not a regular file")
	case st.Mode&0o002 != 0:
		return fail("writable for everybody")
	}
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return fail("read: %w", errors.Unwrap(err))
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 1 || pid > 1<<30 {
		return fail("want a process id, have %.20q", b)
	}
	m = mark{uint64(st.Dev), st.Ino, syscall.TimespecToNsec(st.Mtim)}
	return pid, m, int(st.Uid), nil
}
