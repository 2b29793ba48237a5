package heartbeat

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// ErrBusy is reported when another sender holds the file.
var ErrBusy = errors.New("another sender holds it")

// File is a heartbeat file with its one writer. The file is created whole and
// under its writer's lock, then overwritten in place; it is never synced, for a
// heartbeat from before a crash is worth nothing. Not for concurrent use.
type File struct {
	Encoder
	Atomic bool // replace the file at each beat instead of overwriting it

	path string
	name string
	dir  *rundir.Dir
	f    *os.File
	fd   int // of f
	size int
	buf  []byte
}

// OpenFile opens the directory of a heartbeat file and takes nothing yet: the
// file is created, or found and locked, by the first Write. The name must be a
// valid id with Suffix.
func OpenFile(path string) (*File, error) {
	parent, name := split(path)
	if _, ok := FileID(name); !ok {
		return nil, nameError(path)
	}
	dir, err := rundir.Open(parent)
	if err != nil {
		return nil, err
	}
	return &File{path: path, name: name, dir: dir}, nil
}

// split gives the directory and the name of a path, as path.Split does but for
// what a directory is called.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	switch {
	case i < 0:
		return ".", path
	case i == 0:
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

func nameError(path string) error {
	return fmt.Errorf("%s: file name: want ID%s with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -", path, Suffix)
}

// Last is the record that lies in the file, or none: a sender that counts on from
// its seq is seen to beat by readers that look at seq alone, and a relay knows by
// its via what it has forwarded before.
func (h *File) Last() Record {
	r, _, err := Read(h.dir, h.name)
	if err != nil {
		return Record{}
	}
	return r
}

// Write makes r the file's record. ErrBusy means that another sender has the
// file; every other error leaves the last record as it was, and the next Write
// starts anew: a file or directory that was removed is opened again.
//
// It allocates nothing, and costs two system calls, fstat and pwrite.
func (h *File) Write(r *Record) error {
	if h.f != nil && unlinked(h.fd) {
		h.detach()
	}
	var err error
	if h.buf, err = h.AppendBlock(h.buf[:0], r, h.size); err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	if h.f == nil {
		if err := h.attach(); err != nil || h.f == nil {
			return err
		}
		// An existing file may be larger; a record never shrinks it, so that no
		// reader sees an end that moved.
		if h.buf, err = h.AppendBlock(h.buf[:0], r, h.size); err != nil {
			return fmt.Errorf("%s: %w", h.path, err)
		}
	}
	if h.Atomic {
		return h.replace()
	}
	if _, err := h.f.WriteAt(h.buf, 0); err != nil {
		return fmt.Errorf("%s: write: %w", h.path, errnoOf(err))
	}
	h.size = len(h.buf)
	return nil
}

// replace puts h.buf in the place of the file. Its successor is locked before
// anybody can see it, and what was locked before stays so until then: there is
// no moment without the lock.
func (h *File) replace() error {
	f, err := h.dir.ReplaceOpen(h.name, h.buf, 0o644, lock)
	if err != nil {
		return err
	}
	h.detach()
	h.hold(f)
	h.size = len(h.buf)
	return nil
}

// Close gives the file up. It stays, with its last record.
func (h *File) Close() error {
	h.detach()
	return h.dir.Close()
}

func (h *File) hold(f *os.File) { h.f, h.fd = f, int(f.Fd()) }

func (h *File) detach() {
	if h.f != nil {
		_ = h.f.Close() // nothing is buffered, and the lock goes with it
	}
	h.f, h.size = nil, 0
}

// attach locks the existing file, or creates it with h.buf in it.
func (h *File) attach() error {
	if h.dir.Gone() {
		parent, _ := split(h.path)
		dir, err := rundir.Open(parent)
		if err != nil {
			return err
		}
		_ = h.dir.Close()
		h.dir = dir
	}
	// A sender that ends or starts meanwhile can take the name away between
	// two steps; more than a few times in a row is somebody's loop.
	for range 8 {
		f, info, err := h.dir.OpenFile(h.name, os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = h.dir.CreateOpen(h.name, h.buf, 0o644, lock)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err == nil {
				h.hold(f)
				h.size = len(h.buf)
			}
			return err
		}
		if err != nil {
			return err
		}
		if err := lock(f); err != nil {
			_ = f.Close()
			return fmt.Errorf("%s: lock: %w", h.path, err)
		}
		h.hold(f)
		if unlinked(h.fd) {
			h.detach()
			continue
		}
		return h.adopt(info)
	}
	return fmt.Errorf("%s: open: name keeps changing", h.path)
}

// adopt takes over the size of a file that was there before.
func (h *File) adopt(info rundir.Info) error {
	h.size = int(min(info.Size, MaxSize))
	if info.Size > MaxSize {
		if err := h.f.Truncate(MaxSize); err != nil {
			h.detach()
			return fmt.Errorf("%s: truncate: %w", h.path, errnoOf(err))
		}
	}
	return nil
}

func unlinked(fd int) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) != nil || st.Nlink == 0
}

func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

func errnoOf(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
