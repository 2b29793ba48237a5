package rundir

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Reader reads files again and again, or asks what they are, in memory that it
// keeps: nothing is allocated but for errors. The zero Reader is ready. Not for
// concurrent use.
//
// It works on bare descriptors: a watcher reads thousands of files a second, and
// an os.File costs more than the reading.
type Reader struct {
	Info Info // of the file that was read or asked for last, as far as that came

	name [256]byte // what openat(2) wants: a NUL at the end
	buf  []byte
	st   unix.Stat_t
}

// Read is Dir.Read of base with suffix; the text is valid until the next call.
func (r *Reader) Read(d *Dir, base, suffix string, limit int) ([]byte, error) {
	fd, err := r.open(d, base, suffix)
	if err != nil {
		r.Info = Info{}
		return nil, err
	}
	defer unix.Close(fd)
	// One byte more than it should have: a read that does not fill the room has
	// seen the end.
	if want := int(min(r.st.Size, int64(limit))) + 1; cap(r.buf) < want {
		r.buf = make([]byte, want)
	}
	b := r.buf[:0]
	for {
		n, err := unix.Read(fd, b[len(b):min(cap(b), limit+1)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fail(d.join(base+suffix), "read", err)
		}
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return b[:limit], fmt.Errorf("%s: over %d bytes: %w", d.join(base+suffix), limit, ErrTooLong)
		case n == 0 || len(b) < cap(b):
			return b, nil
		}
		// It has grown meanwhile.
		r.buf = append(make([]byte, 0, limit+1), b...)
		b = r.buf
	}
}

// Stat is Dir.Stat of base with suffix, into r.Info.
func (r *Reader) Stat(d *Dir, base, suffix string) error {
	r.Info = Info{}
	if err := r.set(base, suffix); err != nil {
		return err
	}
	_, _, no := unix.Syscall6(sysFstatat, uintptr(d.fd()), uintptr(unsafe.Pointer(&r.name[0])),
		uintptr(unsafe.Pointer(&r.st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	switch {
	case no != 0:
		return fail(d.join(base+suffix), "stat", no)
	case r.st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fail(d.join(base+suffix), "stat", ErrNotRegular)
	}
	r.Info.set(&r.st)
	return nil
}

func (r *Reader) set(base, suffix string) error {
	if err := component(base); err != nil {
		return err
	}
	if len(base)+len(suffix) >= len(r.name) {
		return fmt.Errorf("%.40q...: %w", base, unix.ENAMETOOLONG)
	}
	n := copy(r.name[:], base)
	n += copy(r.name[n:], suffix)
	r.name[n] = 0
	return nil
}

// open opens a regular file, and tells in r what it is.
func (r *Reader) open(d *Dir, base, suffix string) (fd int, err error) {
	if err := r.set(base, suffix); err != nil {
		return -1, err
	}
	// To note that it was read would dirty the inode, which on a disk costs more
	// than the reading. That is granted to the owner of the file, and to root.
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_LARGEFILE
	for quiet := unix.O_NOATIME; ; {
		n, _, no := unix.Syscall6(unix.SYS_OPENAT, uintptr(d.fd()), uintptr(unsafe.Pointer(&r.name[0])), uintptr(flags|quiet), 0, 0, 0)
		fd = int(n)
		switch {
		case no == unix.EINTR:
			continue
		case no == unix.EPERM && quiet != 0:
			quiet = 0
			continue
		case no != 0:
			return -1, d.refused(base+suffix, no)
		}
		break
	}
	if err := unix.Fstat(fd, &r.st); err != nil {
		unix.Close(fd)
		return -1, fail(d.join(base+suffix), "stat", err)
	}
	if r.st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, fail(d.join(base+suffix), "open", ErrNotRegular)
	}
	r.Info.set(&r.st)
	return fd, nil
}
