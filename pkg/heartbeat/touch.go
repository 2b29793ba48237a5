package heartbeat

import (
	"errors"
	"os"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// Touch is a file whose modification time is the heartbeat, for a watchdog that
// knows nothing else. It has one toucher, who holds flock on it: two would hide
// the end of either. Not for concurrent use.
type Touch struct {
	path string
	f    *os.File
	fd   int // of f
}

// NewTouch is the file at path. The first Write opens it, or creates it empty.
func NewTouch(path string) *Touch { return &Touch{path: path} }

// Write touches the file, if the record is one of life: there is no other way
// to say "error" or "stopping" in a time. ErrBusy means that somebody else
// holds the file.
func (t *Touch) Write(r *Record) error {
	if r.Status == Error || r.Status == Stopping {
		return nil
	}
	if t.f != nil && unlinked(t.fd) {
		t.Close()
	}
	if t.f == nil {
		if err := t.open(); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
	}
	// futimens(fd, NULL): now, by the clock of the file system.
	if _, _, no := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(t.fd), 0, 0, 0, 0, 0); no != 0 {
		return fmt.Errorf("%s: touch: %w", t.path, no)
	}
	return nil
}

// Close gives the file up; it stays.
func (t *Touch) Close() {
	if t.f != nil {
		_ = t.f.Close() // nothing is written
		t.f = nil
	}
}

func (t *Touch) open() error {
	f, err := rundir.OpenKind(t.path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, syscall.S_IFREG)
	if err != nil {
		return fmt.Errorf("open: %w", errnoOf(err))
	}
	fd := int(f.Fd())
	var st syscall.Stat_t
	err = syscall.Fstat(fd, &st)
	if err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		err = errors.New("open: not a regular file")
	}
	if err == nil {
		if err = lock(f); err != nil {
			err = fmt.Errorf("lock: %w", err)
		}
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	t.f, t.fd = f, fd
	return nil
}
