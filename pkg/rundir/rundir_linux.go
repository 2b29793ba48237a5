// Package rundir opens the directories in which vigil's programs meet, and the
// files in them, so that nobody else can put something in the way.
//
// A Dir is a descriptor, not a path: a directory that is renamed or replaced
// behind our back cannot redirect a later call. Files are named by one path
// component, symbolic links are never followed, and opening a planted FIFO or
// device never blocks.
package rundir

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Errors to test for with errors.Is, besides those of io/fs.
var (
	ErrUntrusted  = errors.New("not trusted")        // somebody else could change the directory
	ErrNotRegular = errors.New("not a regular file") // a symlink, FIFO, device, socket or directory
	ErrTooLong    = errors.New("file too long")      // more bytes than the reader allows
)

// Dir is an open, trusted directory. Its methods may be called concurrently.
type Dir struct {
	f    *os.File
	path string
	num  int // of the descriptor: f.Fd costs a lock
}

// Info is what fstat(2) said of the descriptor that was read.
type Info struct {
	UID     int
	Mode    fs.FileMode
	Size    int64
	Disk    int64 // bytes that its data takes; holes take none
	ModTime time.Time
	Dev     uint64
	Ino     uint64
	Nlink   uint64
}

// Open opens a directory, following symbolic links: the path is the
// operator's. The directory itself must belong to root or to the effective
// user and be writable for its owner only; otherwise the error wraps
// ErrUntrusted and names the rule. The caller closes the Dir.
func Open(path string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fail(path, "open directory", err)
	}
	d := &Dir{os.NewFile(uintptr(fd), path), path, fd}
	if err := d.trusted(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) trusted() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return fail(d.path, "stat", err)
	}
	switch me := os.Geteuid(); {
	case st.Uid != 0 && int(st.Uid) != me:
		return fmt.Errorf("%s: directory belongs to uid %d, want root or uid %d: %w", d.path, st.Uid, me, ErrUntrusted)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s: directory has mode %04o, want no write right for group and others: %w", d.path, st.Mode&0o7777, ErrUntrusted)
	}
	return nil
}

// fd stays valid while the Dir is reachable: every caller holds d.
func (d *Dir) fd() int { return d.num }

// Fd is the descriptor, for the system calls that end in -at. It is the Dir's.
func (d *Dir) Fd() int { return d.fd() }

// Path is the path given to Open.
func (d *Dir) Path() string { return d.path }

// Close closes the descriptor.
func (d *Dir) Close() error { return d.f.Close() }

// Gone says that the directory has been removed: what is written into it now
// would be seen by nobody.
func (d *Dir) Gone() bool {
	var st unix.Stat_t
	return unix.Fstat(d.fd(), &st) != nil || st.Nlink == 0
}

// Read reads a regular file of at most limit bytes. A longer one gives
// ErrTooLong with the first limit bytes, anything but a regular file
// ErrNotRegular; a missing one matches fs.ErrNotExist.
func (d *Dir) Read(name string, limit int) ([]byte, Info, error) {
	var r Reader
	b, err := r.Read(d, name, "", limit)
	return b, r.Info, err
}

// OpenFile opens an existing regular file with flags (unix.O_RDONLY or
// unix.O_RDWR). The caller closes it.
func (d *Dir) OpenFile(name string, flags int) (*os.File, Info, error) {
	fd, st, err := d.open(name, flags)
	if err != nil {
		return nil, Info{}, err
	}
	return os.NewFile(uintptr(fd), d.join(name)), info(&st), nil
}

// open opens a regular file and tells what fstat says of it.
func (d *Dir) open(name string, flags int) (fd int, st unix.Stat_t, err error) {
	if err := component(name); err != nil {
		return -1, st, err
	}
	if fd, err = openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err != nil {
		return -1, st, d.refused(name, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, fail(d.join(name), "stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, st, fail(d.join(name), "open", ErrNotRegular)
	}
	return fd, st, nil
}

// refused says why a file could not be opened.
func (d *Dir) refused(name string, err error) error {
	switch err {
	case unix.ELOOP, unix.ENXIO, unix.EISDIR: // a symlink, a FIFO or socket, a directory
		err = ErrNotRegular
	}
	return fail(d.join(name), "open", err)
}

// Write makes name hold data, replacing what is there: written to a temporary
// file, then renamed, so that a reader sees the old text or the new one.
func (d *Dir) Write(name string, data []byte, perm fs.FileMode) error {
	return d.publish(name, data, perm, func(tmp string) error {
		return d.rename(tmp, name)
	})
}

// Create is Write for a name that must not exist yet: otherwise it changes
// nothing and the error matches fs.ErrExist. Of several racing callers one wins.
func (d *Dir) Create(name string, data []byte, perm fs.FileMode) error {
	return d.publish(name, data, perm, func(tmp string) error {
		return d.link(tmp, name)
	})
}

// CreateOpen is Create that leaves the new file open for writing. setup runs
// on the file before anybody can see it under its name.
func (d *Dir) CreateOpen(name string, data []byte, perm fs.FileMode, setup func(*os.File) error) (*os.File, error) {
	return d.publishKeep(name, data, perm, setup, d.link)
}

// ReplaceOpen is Write that leaves the new file open for writing, with a setup
// as CreateOpen has it.
func (d *Dir) ReplaceOpen(name string, data []byte, perm fs.FileMode, setup func(*os.File) error) (*os.File, error) {
	return d.publishKeep(name, data, perm, setup, d.rename)
}

func (d *Dir) publishKeep(name string, data []byte, perm fs.FileMode, setup func(*os.File) error, place func(tmp, name string) error) (*os.File, error) {
	var kept *os.File
	err := d.publishOpen(name, data, perm, func(tmp string, f *os.File) error {
		if err := setup(f); err != nil {
			return err
		}
		if err := place(tmp, name); err != nil {
			return err
		}
		kept = f
		return nil
	})
	return kept, err
}

func (d *Dir) rename(tmp, name string) error {
	return unix.Renameat(d.fd(), tmp, d.fd(), name)
}

// link gives tmp its final name, and never replaces. Where the file system cannot
// rename so, a hard link does.
func (d *Dir) link(tmp, name string) error {
	err := unix.Renameat2(d.fd(), tmp, d.fd(), name, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	if err := unix.Linkat(d.fd(), tmp, d.fd(), name, 0); err != nil {
		return err
	}
	return unix.Unlinkat(d.fd(), tmp, 0)
}

func (d *Dir) publish(name string, data []byte, perm fs.FileMode, place func(tmp string) error) error {
	return d.publishOpen(name, data, perm, func(tmp string, f *os.File) error {
		// A close that fails is a write that failed (NFS, quota).
		if err := f.Close(); err != nil {
			return cause(err)
		}
		return place(tmp)
	})
}

// serial makes temporary names of one process differ.
var serial atomic.Uint32

// publishOpen writes a temporary file and hands it to place. The file is
// removed, and closed if it still is open, when any step fails.
func (d *Dir) publishOpen(name string, data []byte, perm fs.FileMode, place func(tmp string, f *os.File) error) error {
	if err := component(name); err != nil {
		return err
	}
	path := d.join(name)
	tmp := fmt.Sprintf(tempPrefix+"%d.%d.%s", os.Getpid(), serial.Add(1), name)
	if len(tmp) > 255 {
		tmp = tmp[:255]
	}
	// What lies there under our own pid was left by a process of an earlier life.
	_ = unix.Unlinkat(d.fd(), tmp, 0)
	fd, err := openat(d.fd(), tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, uint32(perm.Perm()))
	if err != nil {
		return fail(path, "create", err)
	}
	f := os.NewFile(uintptr(fd), path)
	// The mode is part of the contract; the umask of whoever started us is not.
	err = unix.Fchmod(fd, uint32(perm.Perm()))
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = place(tmp, f)
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd(), tmp, 0)
		_ = f.Close()
		return fail(path, "write", cause(err))
	}
	return nil
}

// Remove removes a file; a missing one matches fs.ErrNotExist.
func (d *Dir) Remove(name string) error {
	if err := component(name); err != nil {
		return err
	}
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return fail(d.join(name), "remove", err)
	}
	return nil
}

// OpenKind opens an operator's path as os.OpenFile does, following links, if
// that names a file of this kind: S_IFREG or S_IFIFO. What it is, is asked
// before, for to open a device may start it, a watchdog above all; a caller who
// fears that the name changes in between asks the descriptor again.
func OpenKind(path string, flags int, kind uint32) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == kind, err == unix.ENOENT && flags&os.O_CREATE != 0:
		return os.OpenFile(path, flags|unix.O_NONBLOCK, 0o644)
	case err == nil && kind == unix.S_IFIFO:
		err = errNotFIFO
	case err == nil:
		err = ErrNotRegular
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: err}
}

var errNotFIFO = errors.New("not a FIFO")

func (d *Dir) join(name string) string { return strings.TrimSuffix(d.path, "/") + "/" + name }

// component refuses what is not one name inside the directory.
func component(name string) error {
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%q: %w", name, fs.ErrInvalid)
	}
	return nil
}

func openat(dir int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, perm)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func info(st *unix.Stat_t) (i Info) {
	i.set(st)
	return i
}

func (i *Info) set(st *unix.Stat_t) {
	*i = Info{
		UID:     int(st.Uid),
		Mode:    fs.FileMode(st.Mode & 0o777),
		Size:    st.Size,
		Disk:    st.Blocks * 512,
		ModTime: time.Unix(st.Mtim.Unix()),
		Dev:     uint64(st.Dev), // 32 bits on mips
		Ino:     st.Ino,
		Nlink:   uint64(st.Nlink),
	}
}

// fail is the one form of an error here; written once, it is also a kilobyte less
// of every program.
func fail(path, verb string, err error) error { return fmt.Errorf("%s: %s: %w", path, verb, err) }

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
