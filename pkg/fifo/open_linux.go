// Package fifo serves and uses control FIFOs: named pipes through which one
// line is one command.
//
// A FIFO knows neither its writers nor where one line ends and another writer's
// begins; a stranger may replace it, fill it, or never finish a line. Listener
// is the reading side that survives all of this, Replies the way back to those
// who ask for one, Client the side of one who asks.
//
// Sources: fifo(7), pipe(7); the order lock, make, open is that of
// s6-supervise.
package fifo

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// ErrServed is reported by Lock when another server holds the lock.
var ErrServed = errors.New("served already")

const lockName = "lock"

// Lock makes the caller the one server of the directory: two readers of one
// FIFO would steal each other's bytes. Take it before Listen. Another server's
// lock gives an error that wraps ErrServed and names its pid. The file stays
// behind unlocked when the lock is closed; see Unlock.
func Lock(d *rundir.Dir) (*os.File, error) {
	for {
		f, err := lock(d)
		if err != nil {
			return nil, err
		}
		if f == nil || unlinked(f) {
			// Unlock took it away in this moment: the next one has another.
			f.Close()
			continue
		}
		// The pid is for people; a file system that is full must not keep us out.
		if f.Truncate(0) == nil {
			_, _ = f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0)
		}
		return f, nil
	}
}

// Unlock removes the file of the lock, for good. Only who has the lock may, and
// closes it afterwards: until then a file that others lock meanwhile is not
// this one.
func Unlock(d *rundir.Dir) error { return d.Remove(lockName) }

func unlinked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

// lock gives nil when the file was removed before it could be opened.
func lock(d *rundir.Dir) (*os.File, error) {
	path := d.Path() + "/" + lockName
	made := d.Create(lockName, nil, 0o600)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return nil, made
	}
	f, _, err := d.OpenFile(lockName, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, 32)
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		n, _ := f.ReadAt(b, 0)
		err = fmt.Errorf("%s: %w by pid %s", path, ErrServed, number(b[:n]))
	} else if err != nil {
		err = fmt.Errorf("%s: lock: %w", path, err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// number gives the digits at the start of b, to show.
func number(b []byte) string {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if n == 0 {
		return "unknown"
	}
	return string(b[:n])
}

// Subdir makes the directory name in d with the mode perm (special bits as in
// chmod(2)), or takes one over that belongs to this user, and opens it. A group
// other than 0 becomes its group.
func Subdir(d *rundir.Dir, name string, perm uint32, group int) (*os.File, error) {
	path := d.Path() + "/" + name
	if err := unix.Mkdirat(d.Fd(), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("%s: mkdir: %w", path, err)
	}
	fd, err := openat(d.Fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("%s: open directory: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && int(st.Uid) != os.Geteuid() {
		f.Close()
		return nil, fmt.Errorf("%s: directory belongs to uid %d, want %d: %w", path, st.Uid, os.Geteuid(), rundir.ErrUntrusted)
	}
	if err == nil && group != 0 && int(st.Gid) != group {
		if err = unix.Fchown(fd, -1, group); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: give it to group %d: %w", path, group, err)
		}
	}
	if err == nil && st.Mode&0o7777 != perm {
		err = unix.Fchmod(fd, perm)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: chmod: %w", path, err)
	}
	return f, nil
}

// component refuses what is not one name inside a directory.
func component(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

var errNotFIFO = errors.New("not a FIFO")

func isFIFO(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errNotFIFO
	}
	return nil
}

// control runs fn on the descriptor of f without making it blocking, as f.Fd
// would.
func control(f *os.File, fn func(fd int)) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { fn(int(fd)) })
	}
}

// empty reads what lies in a FIFO without waiting for more.
func empty(f *os.File, buf []byte, take func([]byte)) {
	control(f, func(fd int) {
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n <= 0 {
				return
			}
			take(buf[:n])
		}
	})
}

func openat(dir int, name string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var s *os.SyscallError
	if errors.As(err, &s) {
		return s.Err
	}
	return err
}
