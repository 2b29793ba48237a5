package heartbeat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"vigil/pkg/rundir"
)

// ErrBusy is reported when another sender holds the file.
var ErrBusy = errors.New("another sender holds it")

// File is a heartbeat file with its one writer. The file is created whole and
// under its writer's lock, then overwritten in place; it is never synced, for a
// heartbeat from before a crash is worth nothing. Not for concurrent use.
type File struct {
	path string
	name string
	dir  *rundir.Dir
	f    *os.File
	size int
	buf  []byte
}

// OpenFile opens the directory of a heartbeat file and takes nothing yet: the
// file is created, or found and locked, by the first Write. The name must be a
// valid id with Suffix.
func OpenFile(path string) (*File, error) {
	name := filepath.Base(path)
	if _, ok := FileID(name); !ok {
		return nil, fmt.Errorf("%s: file name: want ID%s with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -", path, Suffix)
	}
	dir, err := rundir.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return &File{path: path, name: name, dir: dir}, nil
}

// LastSeq is the seq of the record that lies in the file, or 0: a sender that
// counts on from there is seen to beat by readers that look at seq alone.
func (h *File) LastSeq() uint64 {
	r, _, err := Read(h.dir, h.name)
	if err != nil {
		return 0
	}
	return r.Seq
}

// Write makes r the file's record. ErrBusy means that another sender has the
// file; every other error leaves the last record as it was, and the next Write
// starts anew: a file or directory that was removed is opened again.
func (h *File) Write(r *Record) error {
	if h.f != nil && h.unlinked() {
		h.detach()
	}
	var err error
	if h.buf, err = AppendBlock(h.buf[:0], r, h.size); err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	if h.f == nil {
		if err := h.attach(); err != nil || h.f == nil {
			return err
		}
		// An existing file may be larger; a record never shrinks it, so that no
		// reader sees an end that moved.
		if h.buf, err = AppendBlock(h.buf[:0], r, h.size); err != nil {
			return fmt.Errorf("%s: %w", h.path, err)
		}
	}
	if _, err := h.f.WriteAt(h.buf, 0); err != nil {
		return fmt.Errorf("%s: write: %w", h.path, errnoOf(err))
	}
	h.size = len(h.buf)
	return nil
}

// Close gives the file up. It stays, with its last record.
func (h *File) Close() error {
	h.detach()
	return h.dir.Close()
}

func (h *File) detach() {
	if h.f != nil {
		_ = h.f.Close() // nothing is buffered, and the lock goes with it
	}
	h.f, h.size = nil, 0
}

// attach locks the existing file, or creates it with h.buf in it.
func (h *File) attach() error {
	if h.dir.Gone() {
		dir, err := rundir.Open(filepath.Dir(h.path))
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
				h.f, h.size = f, len(h.buf)
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
		h.f = f
		if h.unlinked() {
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

func (h *File) unlinked() bool {
	var st syscall.Stat_t
	return syscall.Fstat(int(h.f.Fd()), &st) != nil || st.Nlink == 0
}

func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

func errnoOf(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// ReadOnce reads and judges a heartbeat file by what it is and holds, not by
// its age. The file must be regular, belong to root or to the effective user,
// and be writable for nobody else. Errors are *Reject, but for a missing file,
// which matches fs.ErrNotExist. Info is what fstat said of the file read, also
// with a *Reject of its contents.
func ReadOnce(d *rundir.Dir, name string) (Record, rundir.Info, error) {
	id, ok := FileID(name)
	if !ok {
		return Record{}, rundir.Info{}, &Reject{WrongID, "file name is not an id with " + Suffix}
	}
	b, info, err := d.Read(name, MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, info, err
	case errors.Is(err, rundir.ErrNotRegular):
		return Record{}, info, &Reject{Reason: NotRegular}
	case errors.Is(err, rundir.ErrTooLong):
		return Record{}, info, &Reject{Oversize, fmt.Sprintf("%d bytes, want at most %d", info.Size, MaxSize)}
	case err != nil:
		return Record{}, info, &Reject{Unreadable, err.Error()}
	case info.UID != 0 && info.UID != os.Geteuid():
		return Record{}, info, &Reject{ForeignOwner, fmt.Sprintf("uid %d", info.UID)}
	case info.Mode&0o002 != 0:
		return Record{}, info, &Reject{Writable, fmt.Sprintf("mode %04o", info.Mode)}
	}
	r, err := Parse(b, id)
	return r, info, err
}

// tries are the pauses before each look of Read; in all 20 ms.
var tries = [...]time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond}

// Read is ReadOnce that looks again when a write may have been caught half-way,
// as `echo >FILE` leaves the file empty for a moment. It may take 20 ms.
func Read(d *rundir.Dir, name string) (r Record, info rundir.Info, err error) {
	for _, pause := range tries {
		time.Sleep(pause)
		r, info, err = ReadOnce(d, name)
		var rej *Reject
		if !errors.As(err, &rej) || !rej.Transient() {
			break
		}
	}
	return r, info, err
}
