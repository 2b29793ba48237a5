// Package journal appends whole lines to a file that somebody else rotates.
package journal

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"vigil/pkg/fmt"
)

// File is a file that is only appended to, by one process at a time: it holds
// flock on it. Its methods may be called concurrently.
type File struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// Open opens the file at path, or creates it with mode 0644 less the umask. It
// has to be a regular file; a symbolic link is not followed. Nobody else who
// opens it so may have it open.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err == nil {
		err = lock(path, f)
	}
	if err != nil {
		return nil, err
	}
	return &File{path: path, f: f}, nil
}

func open(path string) (*os.File, error) {
	// Asked before the opening, which of a device may have effects, and of a
	// FIFO may wait.
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: open: not a regular file", path)
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%s: open: %w", path, cause(err))
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%s: open: not a regular file", path)
	}
	return f, nil
}

// lock keeps others out: what is cut off after a failed write must be ours.
func lock(path string, f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("%s: lock: somebody else writes it: %w", path, err)
	}
	return nil
}

// Write appends lines, all of them or none: what a full disk has left of them
// is cut off again, because half a number looks like one.
func (j *File) Write(lines []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, err := j.f.Write(lines)
	if err == nil {
		return n, nil
	}
	if st, serr := j.f.Stat(); serr == nil && n > 0 {
		_ = j.f.Truncate(st.Size() - int64(n))
	}
	return 0, err
}

// Reopen goes on in the file that is at the path now, and makes one if there is
// none. If that cannot be had, it stays with the old one.
func (j *File) Reopen() error {
	f, err := open(j.path)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	old, err := j.f.Stat()
	if err == nil {
		var now os.FileInfo
		if now, err = f.Stat(); err == nil && os.SameFile(old, now) {
			return f.Close() // it was not moved; and a lock of ours would be in our way
		}
	}
	if err := lock(j.path, f); err != nil {
		return err
	}
	_ = j.f.Close() // every write was checked
	j.f = f
	return nil
}

// Close closes the file.
func (j *File) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
