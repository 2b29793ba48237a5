// Package socket serves and dials a Unix stream socket by its name in a
// directory. It exists because package net weighs 400 kB, and because a path to
// a socket has room for 107 bytes only: here the directory is a descriptor.
//
// Source: unix(7).
package socket

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// backlog is how many clients may wait to be accepted; the next one gets EAGAIN
// or waits.
const backlog = 64

// Listener is a listening socket. Accept runs in one goroutine; Heal and Close
// may be called from others.
type Listener struct {
	dir  *rundir.Dir
	name string
	perm fs.FileMode
	gid  int // 0: as it comes

	mu       sync.Mutex
	file     *os.File // nil after Close
	dev, ino uint64   // of the name
}

// Listen makes the socket name in d with the mode perm, for a group if that is
// not 0. What a server of a former life left there is replaced; anything but a
// socket of this user is left alone and refused.
func Listen(d *rundir.Dir, name string, perm fs.FileMode, group int) (*Listener, error) {
	l := &Listener{dir: d, name: name, perm: perm, gid: group}
	var st unix.Stat_t
	err := unix.Fstatat(d.Fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return nil, fmt.Errorf("%s: stat: %w", l.path(), err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return nil, fmt.Errorf("%s: not a socket: remove it", l.path())
	case int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s: socket belongs to uid %d, want %d: remove it", l.path(), st.Uid, os.Geteuid())
	}
	if err := l.place(); err != nil {
		return nil, fmt.Errorf("%s: listen: %w", l.path(), err)
	}
	return l, nil
}

func (l *Listener) path() string { return l.dir.Path() + "/" + l.name }

// Watched is a path to the name that is right whatever becomes of the path of
// the directory.
func (l *Listener) Watched() string { return address(l.dir.Fd(), l.name) }

func address(dir int, name string) string { return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name }

// place makes a listening socket and gives it the name, whatever bore it. It
// has its mode before anybody can connect.
func (l *Listener) place() error {
	dir := l.dir.Fd()
	tmp := fmt.Sprintf(".tmp.%d.%s", os.Getpid(), l.name)
	_ = unix.Unlinkat(dir, tmp, 0)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: address(dir, tmp)}); err != nil {
		unix.Close(fd)
		return err
	}
	var st unix.Stat_t
	if l.gid != 0 {
		err = unix.Fchownat(dir, tmp, -1, l.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		// By name: fchmod of a socket's descriptor changes another inode. The
		// directory is nobody else's.
		err = unix.Fchmodat(dir, tmp, uint32(l.perm.Perm()), 0)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err == nil {
		err = unix.Fstatat(dir, tmp, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Renameat(dir, tmp, dir, l.name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		unix.Close(fd)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // wakes Accept, which goes on with the new one
	}
	l.file, l.dev, l.ino = os.NewFile(uintptr(fd), l.path()), uint64(st.Dev), st.Ino
	return nil
}

// Accept waits for a client and says which user it runs as, by the kernel's
// word (SO_PEERCRED: when it connected). After Close the error is os.ErrClosed.
// The caller closes the connection, which has deadlines.
func (l *Listener) Accept() (conn *os.File, uid int, err error) {
	for {
		l.mu.Lock()
		f := l.file
		l.mu.Unlock()
		if f == nil {
			return nil, 0, os.ErrClosed
		}
		fd, err := accept(f)
		switch {
		case err == nil:
			cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
			if err != nil {
				unix.Close(fd)
				continue
			}
			return os.NewFile(uintptr(fd), l.path()), int(cred.Uid), nil
		case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			// Closed: replaced by Heal, or the end.
		default:
			return nil, 0, fmt.Errorf("%s: accept: %w", l.path(), err)
		}
	}
}

func accept(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fault error
	err = raw.Read(func(s uintptr) bool {
		// Not unix.Accept4: it brings the address families of all protocols.
		n, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, s, 0, 0, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
		fd, fault = int(n), nil
		if errno != 0 {
			fault = errno
		}
		return errno != unix.EAGAIN
	})
	if err != nil {
		return -1, os.ErrClosed // the only thing that can be wrong with f itself
	}
	return fd, fault
}

// Heal puts a new socket in place when the name no longer leads to the one that
// is being served, and says whether it had to.
func (l *Listener) Heal() (healed bool, err error) {
	l.mu.Lock()
	ok := l.file == nil || l.bears()
	l.mu.Unlock()
	if ok {
		return false, nil
	}
	if err := l.place(); err != nil {
		return false, fmt.Errorf("%s: listen: %w", l.path(), err)
	}
	return true, nil
}

// bears says whether the name still leads to the socket.
func (l *Listener) bears() bool {
	var st unix.Stat_t
	return unix.Fstatat(l.dir.Fd(), l.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && uint64(st.Dev) == l.dev && st.Ino == l.ino
}

// Close removes the socket, if it still bears the name, and ends Accept.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	var err error
	if l.bears() {
		err = unix.Unlinkat(l.dir.Fd(), l.name, 0)
	}
	_ = l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("%s: remove: %w", l.path(), err)
	}
	return nil
}

// Dial connects to the socket name in the directory path. The error is
// ECONNREFUSED or ENOENT where nobody serves. The caller closes the connection,
// which has deadlines.
func Dial(path, name string) (*os.File, error) {
	where := path + "/" + name
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: open directory: %w", path, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: socket: %w", where, err)
	}
	// With room in the backlog a local connection is made at once.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address(dir, name)}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: connect: %w", where, err)
	}
	return os.NewFile(uintptr(fd), where), nil
}
