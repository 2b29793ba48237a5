package heartbeat

import (
	"errors"
	"syscall"

	"vigil/pkg/fmt"
)

// Errors of a Pipe, to test for with errors.Is. A record that was not written
// is lost as a whole; never is half of one written.
var (
	ErrNobody = errors.New("nobody reads it")              // a reader may come (back)
	ErrFull   = errors.New("its reader does not keep up")  // there is no room for a record
	ErrEnded  = errors.New("its reader has gone for good") // of a pipe without a name
)

// Pipe is a FIFO, or standard output, that gets one line for each record. It
// never waits for a reader. Not for concurrent use.
type Pipe struct {
	Encoder
	path string
	fd   int  // -1: to be opened
	keep bool // fd is not ours to close: standard output
	fifo bool
	buf  []byte
}

// OpenPipe is the pipe at path. It need not have a reader yet, but has to be
// a FIFO. It is opened by the first Write, and again after each reader.
func OpenPipe(path string) (*Pipe, error) {
	p := &Pipe{path: path, fd: -1, fifo: true}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("%s: open FIFO: %w", path, err)
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil, fmt.Errorf("%s: open FIFO: not a FIFO", path)
	}
	return p, nil
}

// Stdout is standard output, whatever it is.
func Stdout() *Pipe {
	var st syscall.Stat_t
	fifo := syscall.Fstat(1, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFIFO
	return &Pipe{path: "stdout", fd: 1, keep: true, fifo: fifo}
}

// Write writes r as a line. ErrNobody, ErrFull and ErrEnded say that nothing
// was written because of the reader.
func (p *Pipe) Write(r *Record) error {
	var err error
	if p.buf, err = p.AppendLine(p.buf[:0], r); err == nil {
		err = p.write(p.buf)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	return nil
}

func (p *Pipe) write(line []byte) error {
	if p.fd < 0 {
		if err := p.open(); err != nil {
			return err
		}
	}
	// Whoever shares our standard output must not find it non-blocking.
	if p.keep && p.fifo && !writable(p.fd) {
		return ErrFull
	}
	n, err := writeOnce(p.fd, line)
	for err == nil && n < len(line) { // not a pipe, which takes MaxSize at once or nothing
		line = line[n:]
		n, err = writeOnce(p.fd, line)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EAGAIN):
		return ErrFull
	case errors.Is(err, syscall.EPIPE) && p.nameless():
		return ErrEnded
	case errors.Is(err, syscall.EPIPE):
		err = ErrNobody
	default:
		err = fmt.Errorf("write: %w", err)
	}
	p.Close()
	return err
}

// Close closes what Write has opened.
func (p *Pipe) Close() {
	if p.fd >= 0 && !p.keep {
		_ = syscall.Close(p.fd) // nothing is buffered
		p.fd = -1
	}
}

// open does not wait for a reader, as an open without O_NONBLOCK would.
func (p *Pipe) open() error {
	// Not opened to find out: a device may start by that, a watchdog above all.
	var is syscall.Stat_t
	if syscall.Stat(p.path, &is) == nil && is.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return errors.New("open FIFO: not a FIFO")
	}
	fd, err := syscall.Open(p.path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENXIO) {
		return ErrNobody
	}
	if err != nil {
		return fmt.Errorf("open FIFO: %w", err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		_ = syscall.Close(fd)
		return errors.New("open FIFO: not a FIFO")
	}
	p.fd = fd
	return nil
}

// pipeFS is PIPEFS_MAGIC of include/uapi/linux/magic.h: the file system of
// pipes that have no name.
const pipeFS = 0x50495045

// nameless tells whether no other reader can ever come.
func (p *Pipe) nameless() bool {
	var st syscall.Statfs_t
	return p.keep && syscall.Fstatfs(p.fd, &st) == nil && int64(st.Type) == pipeFS
}

// writable tells whether a pipe has room for MaxSize bytes, or has no reader:
// then a write does not block either.
func writable(fd int) bool {
	var set syscall.FdSet
	set.Bits[0] = 1 << fd
	n, err := syscall.Select(fd+1, nil, &set, nil, &syscall.Timeval{})
	return err == nil && n > 0
}

func writeOnce(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
