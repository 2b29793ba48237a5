package fifo

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// Errors of Send to test for with errors.Is, besides those of the system.
var (
	ErrNobody = errors.New("nobody reads it")                  // the client is gone
	ErrClient = errors.New("not a client's FIFO")              // a planted file, link or stranger's FIFO
	ErrBusy   = errors.New("too many clients read too slowly") // and this one would be one more
)

const (
	replyPerm = 0o3730 // group may make files, not list them, and not remove those of others

	writers   = 8                // answers under way to clients that do not keep up
	pourLeast = 2 * time.Second  // for as much as a pipe takes
	pourMost  = 10 * time.Second // for an answer
)

// Replies is the directory in which each client that wants an answer makes a
// FIFO of its own. Safe for concurrent use.
type Replies struct {
	dir   *os.File
	group uint32
	slots chan struct{}
}

// OpenReplies makes the directory name in d, or takes it over, for a group if
// that is not 0.
func OpenReplies(d *rundir.Dir, name string, group int) (*Replies, error) {
	dir, err := Subdir(d, name, replyPerm, group)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		dir.Close()
		return nil, fmt.Errorf("%s: stat: %w", dir.Name(), err)
	}
	return &Replies{dir: dir, group: st.Gid, slots: make(chan struct{}, writers)}, nil
}

// Close closes the directory, when the answers under way have been finished or given
// up. No Send may come beside it or after it.
func (r *Replies) Close() error {
	for range writers {
		r.slots <- struct{}{}
	}
	for range writers {
		<-r.slots
	}
	return r.dir.Close()
}

// Send writes an answer into the FIFO name and calls done once with what came of
// it, possibly from another goroutine. An answer of up to PIPE_BUF bytes is
// written at once or not at all. A longer one may take a limited time, and only
// so many at once may: beyond, nothing is written and the error wraps ErrBusy.
// Send itself never waits.
func (r *Replies) Send(name string, answer []byte, done func(error)) {
	fd, err := r.open(name)
	if err != nil {
		done(fmt.Errorf("%s/%s: %w", r.dir.Name(), name, err))
		return
	}
	short := len(answer) <= MaxLine
	if !short {
		select {
		case r.slots <- struct{}{}:
		default:
			unix.Close(fd)
			done(r.explain(name, ErrBusy))
			return
		}
	}
	// A pipe takes 64 KiB: almost all answers fit, and need no goroutine.
	n, err := write(fd, answer)
	if short || !errors.Is(err, unix.EAGAIN) {
		unix.Close(fd)
		if !short {
			<-r.slots
		}
		done(r.explain(name, err))
		return
	}
	go func() {
		f := os.NewFile(uintptr(fd), name)
		err := Pour(f, answer[n:])
		f.Close()
		<-r.slots
		done(r.explain(name, cause(err)))
	}()
}

// Pour writes b into a pipe or socket that somebody reads slowly: an error that is
// os.ErrDeadlineExceeded says that he took less than a pipe full in two seconds, or that
// all of it took over ten. Part of b may have been written.
func Pour(f *os.File, b []byte) error {
	end := time.Now().Add(pourMost)
	for {
		by := time.Now().Add(pourLeast)
		if by.After(end) {
			by = end
		}
		if err := f.SetWriteDeadline(by); err != nil {
			return err
		}
		n, err := f.Write(b[:min(len(b), chunk)])
		if b = b[n:]; err != nil || len(b) == 0 {
			return err
		}
	}
}

func (r *Replies) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s/%s: write: %w", r.dir.Name(), name, err)
}

// open opens a client's FIFO for writing. Whoever may write to the directory
// may have planted anything there; what is not a FIFO with one name, of this
// user, of root, or of the directory's group, is not written to.
func (r *Replies) open(name string) (fd int, err error) {
	if !component(name) {
		return -1, ErrClient
	}
	fd, err = openat(int(r.dir.Fd()), name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT):
		return -1, ErrNobody
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR):
		return -1, ErrClient
	case err != nil:
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFIFO || st.Nlink != 1 || !r.trusts(&st)) {
		err = ErrClient
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (r *Replies) trusts(st *unix.Stat_t) bool {
	return st.Uid == 0 || int(st.Uid) == os.Geteuid() || st.Gid == r.group
}

// Sweep removes the FIFOs that nobody reads and that are older than age: those
// of clients that were killed. Other files are left to their owners.
func (r *Replies) Sweep(age time.Duration) error {
	fd, err := openat(int(r.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: list: %w", r.dir.Name(), err)
	}
	defer unix.Close(fd)
	var names []string
	for buf := make([]byte, 16<<10); ; {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: list: %w", r.dir.Name(), err)
		}
		if n == 0 {
			return nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			r.sweep(name, age)
		}
	}
}

func (r *Replies) sweep(name string, age time.Duration) {
	dir := int(r.dir.Fd())
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return
	}
	if time.Since(time.Unix(st.Ctim.Unix())) < age {
		return
	}
	fd, err := openat(dir, name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	switch {
	case err == nil:
		unix.Close(fd)
	case errors.Is(err, unix.ENXIO):
		_ = unix.Unlinkat(dir, name, 0)
	}
}

// write writes what the pipe takes now.
func write(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(fd, b[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}
