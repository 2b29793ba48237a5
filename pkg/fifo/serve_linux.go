package fifo

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

const (
	// idle is how long a line may stay without its line feed.
	idle = time.Second
	// linger is how long a FIFO of a former life is kept open and emptied.
	linger = time.Second
	// chunk is the size of a pipe's buffer, pipe(7).
	chunk = 64 << 10
)

// Listener is the reading side of a control FIFO. Serve runs in one goroutine;
// Heal and Close may be called from others.
type Listener struct {
	dir  *rundir.Dir
	name string
	perm fs.FileMode
	gid  int // 0: as it comes

	mu      sync.Mutex
	file    *os.File   // the FIFO that bears the name; nil after Close
	stopped bool       // nothing more is read
	former  []*os.File // replaced by Heal, not yet emptied by Serve
	old     []*os.File // of a former life, being emptied
}

// Listen makes the FIFO name in d with the mode perm, for a group if that is not
// 0. What a server of a former
// life left there is replaced, together with the commands that lie in it or
// that are written by somebody who has waited for a reader: they were meant for
// another time. Anything but a FIFO of this user is left alone and refused.
func Listen(d *rundir.Dir, name string, perm fs.FileMode, group int) (*Listener, error) {
	l := &Listener{dir: d, name: name, perm: perm, gid: group}
	if err := l.vacant(); err != nil {
		return nil, err
	}
	f, err := l.place()
	if err != nil {
		return nil, err
	}
	l.file = f
	return l, nil
}

func (l *Listener) path() string { return l.dir.Path() + "/" + l.name }

// vacant refuses what a server must not replace: somebody put it there, and
// only the operator can know why.
func (l *Listener) vacant() error {
	var st unix.Stat_t
	err := unix.Fstatat(l.dir.Fd(), l.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("%s: stat: %w", l.path(), err)
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		return fmt.Errorf("%s: not a FIFO: remove it", l.path())
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s: FIFO belongs to uid %d, want %d: remove it", l.path(), st.Uid, os.Geteuid())
	}
	return nil
}

// place makes a new FIFO and gives it the name, whatever bore it. The mode is
// set on the descriptor: between mkfifo and a chmod by path, the path could
// change its meaning.
func (l *Listener) place() (*os.File, error) {
	dir := l.dir.Fd()
	tmp := fmt.Sprintf(".tmp.%d.%s", os.Getpid(), l.name)
	_ = unix.Unlinkat(dir, tmp, 0)
	if err := unix.Mkfifoat(dir, tmp, 0o600); err != nil {
		return nil, fmt.Errorf("%s: mkfifo: %w", l.path(), err)
	}
	fd, err := l.open(tmp)
	if err == nil {
		if err = l.give(fd); err == nil {
			err = unix.Fchmod(fd, uint32(l.perm.Perm()))
		}
		if err == nil {
			l.retire()
			err = unix.Renameat(dir, tmp, dir, l.name)
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		return nil, fmt.Errorf("%s: mkfifo: %w", l.path(), err)
	}
	return os.NewFile(uintptr(fd), l.path()), nil
}

// give lets the group in, if there is one.
func (l *Listener) give(fd int) error {
	if l.gid == 0 {
		return nil
	}
	if err := unix.Fchown(fd, -1, l.gid); err != nil {
		return fmt.Errorf("give it to group %d: %w", l.gid, err)
	}
	return nil
}

// open opens a FIFO so that it never gives EOF (we are a writer too) and never
// blocks, so that os.File can wait for it with deadlines.
func (l *Listener) open(name string) (fd int, err error) {
	fd, err = openat(l.dir.Fd(), name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return -1, err
	}
	if err := isFIFO(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// retire opens the FIFO that is about to be replaced, which wakes everybody who
// waits in open(2) for a reader, and lets them write into the void for a while.
// Without it they would wait for ever: their FIFO has no name any more.
func (l *Listener) retire() {
	fd, err := l.open(l.name)
	if err != nil {
		return // nothing there, or nothing that anybody could wait for
	}
	f := os.NewFile(uintptr(fd), l.path())
	_ = f.SetReadDeadline(time.Now().Add(linger))
	l.mu.Lock()
	l.old = append(l.old, f)
	l.mu.Unlock()
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				break
			}
		}
		l.mu.Lock()
		l.old = slices.DeleteFunc(l.old, func(o *os.File) bool { return o == f })
		l.mu.Unlock()
		f.Close()
	}()
}

// Heal puts a new FIFO in place when the name no longer leads to the one that
// is being served, and says whether it had to. It costs two system calls; until
// it is called again, a shell's echo >FIFO makes a regular file there, which
// the new FIFO replaces.
func (l *Listener) Heal() (healed bool, err error) {
	l.mu.Lock()
	f := l.file
	over := f == nil || l.stopped
	l.mu.Unlock()
	if over || l.leadsTo(f) {
		return false, nil
	}
	fresh, err := l.place()
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.stopped { // meanwhile
		l.remove(fresh)
		return false, fresh.Close()
	}
	l.former = append(l.former, l.file)
	l.file = fresh
	// Serve reads from the former one; this wakes it.
	_ = f.SetReadDeadline(time.Unix(1, 0))
	return true, nil
}

// leadsTo compares what the name leads to with an open FIFO. As long as that is
// open, its inode number is not given out again.
func (l *Listener) leadsTo(f *os.File) bool {
	var there, here unix.Stat_t
	if unix.Fstatat(l.dir.Fd(), l.name, &there, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	ok := false
	control(f, func(fd int) {
		ok = unix.Fstat(fd, &here) == nil && there.Dev == here.Dev && there.Ino == here.Ino
	})
	return ok
}

// Serve hands each line to handle, without its line feed and valid until handle
// returns, or else its fault. It returns nil after Stop or Close. While handle runs,
// nothing is read: writers wait once the pipe is full.
func (l *Listener) Serve(handle func(line []byte, fault Fault)) error {
	var fr Framer
	buf := make([]byte, chunk)
	var f *os.File
	armed := false // f has a read deadline
	for {
		if pending := fr.Pending(); pending || armed {
			var at time.Time
			if armed = pending; armed {
				at = time.Now().Add(idle)
			}
			_ = f.SetReadDeadline(at)
		}
		// After the deadline is set: Heal and Stop change the file first, the
		// deadline then, so that one of the two is seen.
		now, former := l.current()
		for _, old := range former {
			empty(old, buf, func(b []byte) { fr.Feed(b, handle) })
			old.Close()
			fr.Drop(handle)
		}
		if now == nil {
			return nil
		}
		if now != f {
			f, armed = now, false
		}
		n, err := f.Read(buf)
		fr.Feed(buf[:n], handle)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			fr.Drop(handle)
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return fmt.Errorf("%s: read: %w", l.path(), cause(err))
		}
	}
}

// current gives nothing to read once the listener was stopped.
func (l *Listener) current() (now *os.File, former []*os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil, nil
	}
	former, l.former = l.former, nil
	return l.file, former
}

// Stop removes the FIFO, if it still bears the name, and ends Serve after the lines
// that it has read. Those who have written into it stay connected until Close: they
// may be waiting for an answer that is under way.
func (l *Listener) Stop() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.stopped {
		return nil
	}
	l.stopped = true
	err := l.remove(l.file)
	_ = l.file.SetReadDeadline(time.Unix(1, 0))
	return err
}

// Close is Stop, and tells every client that is still connected that there is no
// server any more. A FIFO that outlives its server lets its clients hang.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.remove(l.file)
	for _, f := range append(append(l.former, l.old...), l.file) {
		_ = f.Close()
	}
	l.file, l.former, l.old = nil, nil, nil
	return err
}

func (l *Listener) remove(f *os.File) error {
	if !l.leadsTo(f) {
		return nil
	}
	if err := unix.Unlinkat(l.dir.Fd(), l.name, 0); err != nil {
		return fmt.Errorf("%s: remove: %w", l.path(), err)
	}
	return nil
}
