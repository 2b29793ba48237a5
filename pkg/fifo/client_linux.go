package fifo

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Errors of a Client to test for with errors.Is, besides those of the system
// and os.ErrDeadlineExceeded.
var (
	ErrNotServed   = errors.New("nobody serves it") // or the server ended before it had answered
	ErrInterrupted = errors.New("interrupted")
)

// slice is how often a waiting client looks whether it was told to end, or the
// server has gone.
const slice = 100 * time.Millisecond

// Client is one conversation with a server: lines go into its control FIFO,
// answers come through a FIFO of our own. Not for concurrent use.
type Client struct {
	id      string
	path    string // of the control FIFO
	control int
	dir     int // of the reply FIFO
	reply   int
	made    bool // the reply FIFO
	until   time.Time
	done    <-chan struct{}
}

// Dial opens the control FIFO name in the directory path and makes a reply
// FIFO in its directory replies. Without a server the error wraps ErrNotServed,
// at once. The conversation ends when done is closed, or after limit. The
// caller closes the Client, which removes the reply FIFO.
func Dial(done <-chan struct{}, limit time.Duration, path, name, replies string) (*Client, error) {
	c := &Client{path: path + "/" + name, control: -1, dir: -1, reply: -1, until: time.Now().Add(limit), done: done}
	if err := c.dial(path, name, replies); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) dial(path, name, replies string) error {
	dir, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: open directory: %w", path, err)
	}
	defer unix.Close(dir)
	c.control, err = openat(dir, name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w", c.path, ErrNotServed)
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s: %w", c.path, errNotFIFO)
	case err != nil:
		return fmt.Errorf("%s: open: %w", c.path, err)
	}
	if err := isFIFO(c.control); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	where := path + "/" + replies
	if c.dir, err = openat(dir, replies, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: open directory: %w", where, err)
	}
	var secret [16]byte
	if _, err := unix.Getrandom(secret[:], 0); err != nil {
		return fmt.Errorf("getrandom: %w", err)
	}
	c.id = fmt.Sprintf("%x", secret[:])
	if err := unix.Mkfifoat(c.dir, c.id, 0o600); err != nil {
		return fmt.Errorf("%s: mkfifo: %w", where, err)
	}
	c.made = true
	// O_RDWR: no EOF between two writes of the server.
	if c.reply, err = openat(c.dir, c.id, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: open: %w", where, err)
	}
	// The directory gave it its group (set-gid), which is the server's.
	if err := unix.Fchmod(c.reply, 0o620); err != nil {
		return fmt.Errorf("%s: chmod: %w", where, err)
	}
	return nil
}

// ID is the name of the reply FIFO; nobody can guess it.
func (c *Client) ID() string { return c.id }

// Write puts one line into the control FIFO, with its line feed and a line feed
// before it, in one write. It waits while the FIFO is full.
func (c *Client) Write(line string) error {
	b := []byte("\n" + line + "\n")
	if len(b) > MaxLine {
		return fmt.Errorf("%s: command of %d bytes, want at most %d", c.path, len(b), MaxLine)
	}
	for {
		_, err := unix.Write(c.control, b)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EPIPE):
			return fmt.Errorf("%s: %w", c.path, ErrNotServed)
		case !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("%s: write: %w", c.path, err)
		}
		if err := c.wait(c.control, unix.POLLOUT); err != nil {
			return err
		}
	}
}

// Read reads a part of the answer, at least one byte. That the server has gone
// is an error that wraps ErrNotServed.
func (c *Client) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.reply, b)
		switch {
		case err == nil && n > 0:
			return n, nil
		case err == nil:
			return 0, fmt.Errorf("%s: answer: %w", c.path, unix.EBADF)
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return 0, fmt.Errorf("%s: read answer: %w", c.path, err)
		}
		if err := c.wait(c.reply, unix.POLLIN); err != nil {
			return 0, err
		}
	}
}

// wait returns nil when fd is worth another try.
func (c *Client) wait(fd int, events int16) error {
	for gone := false; ; {
		select {
		case <-c.done:
			return fmt.Errorf("%s: %w", c.path, ErrInterrupted)
		default:
		}
		left := time.Until(c.until)
		if left <= 0 {
			return fmt.Errorf("%s: no answer: %w", c.path, os.ErrDeadlineExceeded)
		}
		// POLLERR needs no asking: the control FIFO has lost its reader.
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(c.control)}}
		n, err := unix.Poll(fds, int(min(left, slice).Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR), err == nil && n == 0:
		case err != nil:
			return fmt.Errorf("%s: poll: %w", c.path, err)
		case fds[0].Revents&events != 0:
			return nil
		case fds[1].Revents&unix.POLLERR != 0 && !gone:
			// A server answers before it goes, perhaps between the looks at the two
			// descriptors: what it had to say is there now.
			gone = true
		case fds[1].Revents&unix.POLLERR != 0:
			return fmt.Errorf("%s: %w", c.path, ErrNotServed)
		}
	}
}

// Close removes the reply FIFO.
func (c *Client) Close() {
	if c.made {
		_ = unix.Unlinkat(c.dir, c.id, 0)
	}
	for _, fd := range []int{c.control, c.dir, c.reply} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	c.control, c.dir, c.reply, c.made = -1, -1, -1, false
}
