package condition

import (
	"bytes"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// stdinProbe is -stdin: lines come, whatever stands in them. Who stops writing is
// silent; who closes the pipe has ended for good.
type stdinProbe struct {
	within time.Duration
	in     io.Reader
	waits  func() bool // something waits to be read: nobody has had the time for it

	mu      sync.Mutex
	reading bool
	progress
	ended string
}

func newStdinProbe(within time.Duration) *stdinProbe {
	return &stdinProbe{within: within, in: os.Stdin, waits: func() bool { return readable(0) }}
}

// readable tells whether a read of fd would not wait.
func readable(fd int) bool {
	var set syscall.FdSet
	set.Bits[0] = 1 << fd
	n, err := syscall.Select(fd+1, &set, nil, nil, &syscall.Timeval{})
	return err == nil && n > 0
}

func (p *stdinProbe) check() error { return nil }

func (p *stdinProbe) renew(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress.renew(now)
}

func (p *stdinProbe) look(clock func() Clock, _ time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reading {
		p.reading = true
		go p.read(clock)
	}
	if p.ended != "" {
		return p.ended
	}
	reason := p.stale(clock().Boot, p.within)
	switch {
	case reason == "":
	case !p.known:
		return "no line yet"
	case p.waits():
		return "" // after a stop of this process
	}
	return reason
}

// read reads until the end, in memory that does not grow.
func (p *stdinProbe) read(clock func() Clock) {
	b := make([]byte, 4<<10)
	for {
		n, err := p.in.Read(b)
		p.mu.Lock()
		if bytes.IndexByte(b[:n], '\n') >= 0 {
			p.sign(clock().Boot)
		}
		if err == io.EOF {
			p.ended = "standard input has ended"
		} else if err != nil {
			p.ended = "standard input: " + cause(err)
		}
		over := p.ended != ""
		p.mu.Unlock()
		if over {
			return
		}
	}
}
