package condition

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

const (
	missing       = "missing"
	worldWritable = "writable for all"
	othersWrite   = 0o002
)

// refuseWritable is an error for a file that everybody could change. One that
// is missing, or cannot be seen, is left to the looks that follow.
func refuseWritable(name string) error {
	var st syscall.Stat_t
	if syscall.Stat(name, &st) == nil && st.Mode&othersWrite != 0 {
		return fmt.Errorf("%s: condition file has mode %04o, want no write right for others", name, st.Mode&0o7777)
	}
	return nil
}

// cause is the text of err without the path that os wraps around an errno: the
// verdict names the condition.
func cause(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	if p, ok := errors.AsType[*procfs.PidfileError](err); ok {
		err = p.Err
	}
	return err.Error()
}

// pidProbe is -pidfile. It proves that a process exists, not that it moves.
type pidProbe struct {
	path  string
	seen  bool
	last  procfs.Pidfile
	start uint64 // ticks since boot
}

func (p *pidProbe) renew(time.Duration) {}

func (p *pidProbe) check() error { return refuseWritable(p.path) }

func (p *pidProbe) look(func() Clock, time.Duration) string {
	named, err := procfs.ReadPidfile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return cause(err)
	}
	st, err := procfs.ReadStat(named.PID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cause(err)
	}
	return p.judge(named, st, err == nil)
}

// judge compares with what was seen before: the same file with the same number
// but another start time names a process that has nothing to do with it.
func (p *pidProbe) judge(named procfs.Pidfile, st procfs.Stat, exists bool) string {
	pid := named.PID
	switch {
	case !exists:
		return fmt.Sprintf("pid %d: no such process", pid)
	case st.State == 'Z' || st.State == 'X':
		return fmt.Sprintf("pid %d: zombie", pid)
	case p.seen && p.last == named && p.start != st.StartTime:
		return fmt.Sprintf("pid %d: another process has the number now", pid)
	}
	p.seen, p.last, p.start = true, named, st.StartTime
	return ""
}

// existsProbe is -exists. Who may write the file does not matter, only that it
// is there; a dangling symbolic link is not.
type existsProbe struct{ path string }

func (p existsProbe) renew(time.Duration) {}
func (p existsProbe) check() error        { return nil }

func (p existsProbe) look(func() Clock, time.Duration) string {
	var st syscall.Stat_t
	err := syscall.Stat(p.path, &st)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return missing
	}
	return err.Error()
}

// absentProbe is -absent. Anything under the name is too much, also a dangling
// symbolic link; what cannot be seen is not known to be absent.
type absentProbe struct{ path string }

func (p absentProbe) renew(time.Duration) {}
func (p absentProbe) check() error        { return nil }

func (p absentProbe) look(func() Clock, time.Duration) string {
	var st syscall.Stat_t
	err := syscall.Lstat(p.path, &st)
	switch {
	case err == nil:
		return "present"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return ""
	}
	return err.Error()
}
