// Package spool makes files of evidence: a file bears its name only when it is
// whole, never replaces another one, and belongs to its maker alone (0600).
//
// Where the file system can (O_TMPFILE), an unfinished file has no name at all
// and vanishes with its maker, however that ends. Elsewhere it is called
// .NAME.RANDOM.tmp, which a killed maker leaves behind.
package spool

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// File is a file that has no name yet. Its methods are those of os.File; of
// Commit and Discard the first one counts.
type File struct {
	*os.File
	path string
	name string   // its name to be, within dir
	dir  *os.File // O_PATH: the directory of path, whatever is renamed meanwhile
	temp string   // its name until then; "" for none
}

// Create begins a file that is to be called path. errors.Is(err, fs.ErrExist)
// when there is something of that name, symbolic links included.
func Create(path string) (*File, error) {
	fail := func(err error) (*File, error) { return nil, fmt.Errorf("%s: create: %w", path, err) }
	dirname, name := filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		return fail(unix.EISDIR)
	}
	if dirname == "" {
		dirname = "."
	}
	dirfd, err := unix.Open(dirname, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	f := &File{path: path, name: name, dir: os.NewFile(uintptr(dirfd), dirname)}
	var st unix.Stat_t
	switch err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		f.dir.Close()
		return fail(unix.EEXIST)
	case !errors.Is(err, unix.ENOENT):
		f.dir.Close()
		return fail(err)
	}
	fd, err := unix.Openat(dirfd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		fd, err = f.createNamed()
	}
	if err != nil {
		f.dir.Close()
		return fail(err)
	}
	f.File = os.NewFile(uintptr(fd), path)
	return f, nil
}

// createNamed is for file systems without O_TMPFILE: NFS, FAT, 9p, some FUSE.
func (f *File) createNamed() (fd int, err error) {
	// crypto/rand would weigh 200 kB.
	var random [8]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil {
		return -1, err
	}
	f.temp = "." + f.name + "." + strconv.FormatUint(binary.NativeEndian.Uint64(random[:]), 36) + ".tmp"
	return unix.Openat(int(f.dir.Fd()), f.temp, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}

// Commit brings the content to the disk, gives the file its name and closes
// it. After an error it is gone: errors.Is(err, fs.ErrExist) when somebody took
// the name meanwhile.
func (f *File) Commit() error {
	if f.dir == nil {
		return fs.ErrClosed
	}
	defer f.Discard()
	// A name without content behind it is what a power cut would leave else.
	if err := unix.Fsync(int(f.Fd())); err != nil {
		return fmt.Errorf("%s: sync: %w", f.path, err)
	}
	if err := f.link(); err != nil {
		return fmt.Errorf("%s: create: %w", f.path, err)
	}
	f.temp = ""
	f.syncDir()
	return nil
}

// CommitBeside is Commit for a file that says something of the one at path, in the
// same directory. When that has been removed meanwhile (Remove), this one goes, too,
// and errors.Is(err, fs.ErrNotExist).
func (f *File) CommitBeside(path string) error {
	if err := f.Commit(); err != nil {
		return err
	}
	if err := unix.Access(path, unix.F_OK); errors.Is(err, unix.ENOENT) {
		_ = unix.Unlink(f.path)
		return fmt.Errorf("%s: removed meanwhile: %w", path, err)
	}
	return nil
}

func (f *File) link() error {
	dir := int(f.dir.Fd())
	if f.temp == "" {
		self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
		return unix.Linkat(unix.AT_FDCWD, self, dir, f.name, unix.AT_SYMLINK_FOLLOW)
	}
	err := unix.Renameat2(dir, f.temp, dir, f.name, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if err := unix.Linkat(dir, f.temp, dir, f.name, 0); err != nil {
		return err
	}
	return unix.Unlinkat(dir, f.temp, 0)
}

// syncDir is for the name what Sync is for the content. A directory that may
// only be written cannot be synced; then the name takes its time.
func (f *File) syncDir() {
	fd, err := unix.Openat(int(f.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Fsync(fd)
		unix.Close(fd)
	}
}

// Clear makes a part of the file read as zero and gives back what it took on the
// disk, where the file system can.
func (f *File) Clear(at, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		if err != nil {
			err = fmt.Errorf("%s: clear: %w", f.path, err)
		}
		return err
	}
	zero := make([]byte, min(size, 1<<20))
	for end := at + size; at < end; at += int64(len(zero)) {
		if _, err := f.WriteAt(zero[:min(int64(len(zero)), end-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// Allocated is how many bytes the file takes on the disk.
func (f *File) Allocated() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("%s: stat: %w", f.path, err)
	}
	return st.Blocks * 512, nil
}

// Free is how many bytes the file system of the file has left for everybody.
func (f *File) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("%s: statfs: %w", f.path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Discard removes a file that was not committed.
func (f *File) Discard() {
	if f.dir == nil {
		return
	}
	if f.temp != "" {
		unix.Unlinkat(int(f.dir.Fd()), f.temp, 0)
	}
	f.File.Close()
	f.dir.Close()
	f.dir = nil
}

// Terminal says whether f is a terminal, which evidence does not belong on.
func Terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
