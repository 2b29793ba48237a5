package condition

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/rundir"
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
	return err.Error()
}

// pidProbe is -pidfile. It proves that a process exists, not that it moves.
type pidProbe struct {
	path  string
	seen  bool
	last  mark
	pid   int
	start uint64 // ticks since boot
}

func (p *pidProbe) renew(time.Duration) {}

func (p *pidProbe) check() error { return refuseWritable(p.path) }

func (p *pidProbe) look(func() Clock, time.Duration) string {
	pid, m, err := readPID(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return cause(err)
	}
	st, err := procfs.ReadStat(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cause(err)
	}
	return p.judge(pid, m, st, err == nil)
}

// judge compares with what was seen before: the same file with the same number
// but another start time names a process that has nothing to do with it.
func (p *pidProbe) judge(pid int, m mark, st procfs.Stat, exists bool) string {
	switch {
	case !exists:
		return fmt.Sprintf("pid %d: no such process", pid)
	case st.State == 'Z' || st.State == 'X':
		return fmt.Sprintf("pid %d: zombie", pid)
	case p.seen && p.last == m && p.pid == pid && p.start != st.StartTime:
		return fmt.Sprintf("pid %d: another process has the number now", pid)
	}
	p.seen, p.last, p.pid, p.start = true, m, pid, st.StartTime
	return ""
}

// readPID reads a pidfile: a number, white space around it. The path is the
// operator's and may be a symbolic link; a FIFO there does not block.
func readPID(name string) (int, mark, error) {
	f, err := rundir.OpenKind(name, os.O_RDONLY, syscall.S_IFREG)
	if err != nil {
		return 0, mark{}, err
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, mark{}, err
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return 0, mark{}, errors.New("not a regular file")
	case st.Mode&othersWrite != 0:
		return 0, mark{}, errors.New(worldWritable)
	}
	b := make([]byte, 32)
	n, err := f.Read(b)
	if err != nil && err != io.EOF {
		return 0, mark{}, err
	}
	pid, err := parsePID(b[:n])
	return pid, markOf(&st), err
}

func parsePID(b []byte) (int, error) {
	pid, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 32)
	if err != nil || pid < 1 {
		return 0, errors.New("no process id in it")
	}
	return int(pid), nil
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
