package procfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// maxPidfile is more than a number and the white space around it need.
const maxPidfile = 64

// Pidfile is what a file says of which process is meant.
type Pidfile struct {
	PID  int
	UID  int // the owner of the file, who vouches for it
	Mark Mark
}

// Mark changes whenever a file is written, replaced or touched: the same number in a
// file with the same mark names the same process, dead or alive.
type Mark struct {
	dev, ino uint64
	size     int64
	mtimeNS  int64
}

// PidfileError is what is wrong with a pidfile. It unwraps to the cause.
type PidfileError struct {
	Path string
	Err  error
}

func (e *PidfileError) Error() string { return e.Path + ": pidfile: " + e.Err.Error() }
func (e *PidfileError) Unwrap() error { return e.Err }

// ReadPidfile reads a process id, with white space around it. The path is the
// operator's: symbolic links are followed, but a FIFO or a device is refused
// without waiting for it, and so is a file that everybody may write. An error is
// a *PidfileError; one for a missing file matches fs.ErrNotExist.
func ReadPidfile(path string) (Pidfile, error) {
	p, err := readPidfile(path)
	if err != nil {
		err = &PidfileError{path, err}
	}
	return p, err
}

func readPidfile(path string) (p Pidfile, err error) {
	f, err := rundir.OpenKind(path, os.O_RDONLY, unix.S_IFREG)
	if err != nil {
		return p, fmt.Errorf("open: %w", errors.Unwrap(err))
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return p, fmt.Errorf("stat: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return p, errors.New("not a regular file")
	case st.Mode&0o002 != 0:
		return p, errors.New("writable for everybody")
	}
	b := make([]byte, maxPidfile+1)
	n, err := f.Read(b)
	if err != nil && err != io.EOF {
		return p, fmt.Errorf("read: %w", errors.Unwrap(err))
	}
	p.UID = int(st.Uid)
	p.Mark = Mark{uint64(st.Dev), st.Ino, st.Size, unix.TimespecToNsec(st.Mtim)}
	p.PID, err = parsePID(b[:n])
	return p, err
}

func parsePID(b []byte) (int, error) {
	pid, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 32)
	if err != nil || pid < 1 || len(b) > maxPidfile {
		return 0, fmt.Errorf("want a process id, have %.20q", b)
	}
	return int(pid), nil
}
