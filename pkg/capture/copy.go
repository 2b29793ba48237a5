package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// memory is where the bytes of a process come from; an offset is an address.
type memory interface {
	ReadAt(p []byte, addr int64) (int, error)
	// Gentle reads without making the kernel copy pages that a fork shares.
	Gentle(p []byte, addr int64) (int, error)
}

// Output is where a core goes. Bytes that are never written are zeroes.
type Output interface {
	// WriteAt is called for parts that do not overlap, concurrently and in any
	// order unless Ordered.
	io.WriterAt
	// SetSize tells the size of the whole core, before the first WriteAt.
	SetSize(size int64) error
	// Ordered asks for ascending offsets, one call after the other.
	Ordered() bool
}

const (
	// batchSize is the work given to a copier at a time: large enough to make
	// the hand-over cheap, small enough to stay in the cache between the read
	// and the write.
	batchSize  = 512 << 10
	batchCount = 128 // pieces, where they are small
)

// piece is a part of memory and where in the core it goes.
type piece struct {
	addr, size uint64
	at         uint64
	gentle     bool
}

// copier copies memory. The counters may be read while it works.
type copier struct {
	mem   memory
	out   Output
	zero  []byte // one page
	batch []piece
	full  uint64 // bytes in batch

	beside    bool // the target runs meanwhile, and goes first
	overwrite bool // the output has other bytes already: zero pages are written, too
	remember  bool // what cannot be read, in lost
	lost      []piece
	losing    sync.Mutex

	written atomic.Int64 // bytes of data, zero pages left out
	unread  atomic.Int64 // bytes that could not be read; zeroes in the core
	steps   atomic.Int64 // grows as long as anything moves
}

func newCopier(mem memory, out Output) *copier {
	return &copier{mem: mem, out: out, zero: make([]byte, procfs.PageSize)}
}

// buffers allocates, before anything is stopped, what the copiers need.
func buffers(out Output, workers int) [][]byte {
	if out.Ordered() {
		workers = 1
	}
	b := make([][]byte, workers)
	for i := range b {
		b[i] = make([]byte, batchSize)
		for j := range b[i] {
			b[i][j] = 1 // or its pages come with the first use
		}
	}
	return b
}

// run copies the pieces that plan hands out, with one worker per buffer.
func (c *copier) run(ctx context.Context, buffers [][]byte, plan func(add func(piece) error) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan []piece, 16)
	var workers sync.WaitGroup
	for _, buf := range buffers {
		workers.Go(func() {
			if c.beside {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				defer ptrace.Linger()()
			}
			for batch := range jobs {
				for _, p := range batch {
					if ctx.Err() != nil {
						break
					}
					if err := c.copy(p, buf); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	send := func() error {
		select {
		case jobs <- c.batch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.batch, c.full = make([]piece, 0, batchCount), 0
		return nil
	}
	err := plan(func(p piece) error { return c.split(p, send) })
	if err == nil && len(c.batch) > 0 {
		err = send()
	}
	close(jobs)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// split adds p to the batch in parts that fit a buffer.
func (c *copier) split(p piece, send func() error) error {
	c.steps.Add(1)
	for p.size > 0 {
		part := p
		part.size = min(p.size, batchSize-c.full)
		c.batch = append(c.batch, part)
		c.full += part.size
		p.addr += part.size
		p.at += part.size
		p.size -= part.size
		if c.full == batchSize || len(c.batch) == batchCount {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copier) copy(p piece, buf []byte) error {
	read := c.mem.ReadAt
	if p.gentle {
		read = c.mem.Gentle
	}
	for p.size > 0 {
		n, err := read(buf[:p.size], int64(p.addr))
		c.steps.Add(1)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ESRCH) {
			return io.ErrUnexpectedEOF // it was killed: all else would be unreadable, too
		}
		if werr := c.store(buf[:n], p.at); werr != nil {
			return werr
		}
		done := uint64(n)
		if err != nil { // the page behind n
			skip := min(procfs.PageSize, p.size-done)
			c.unread.Add(int64(skip))
			c.lose(piece{addr: p.addr + done, size: skip, at: p.at + done})
			done += skip
		} else if n == 0 {
			return io.ErrNoProgress
		}
		p.addr += done
		p.at += done
		p.size -= done
	}
	return nil
}

func (c *copier) lose(p piece) {
	if c.remember {
		c.losing.Lock()
		c.lost = append(c.lost, p)
		c.losing.Unlock()
	}
}

// store writes the pages of b that are not all zero.
func (c *copier) store(b []byte, at uint64) error {
	page := len(c.zero)
	for len(b) > 0 {
		n := 0
		if c.overwrite {
			n = len(b)
		}
		for n < len(b) && !c.blank(b[n:min(n+page, len(b))]) {
			n += min(page, len(b)-n)
		}
		if n > 0 {
			if _, err := c.out.WriteAt(b[:n], int64(at)); err != nil {
				return err
			}
			c.written.Add(int64(n))
			c.steps.Add(1)
		}
		n += min(page, len(b)-n) // a blank page, or nothing
		b, at = b[n:], at+uint64(n)
	}
	return nil
}

func (c *copier) blank(page []byte) bool { return bytes.Equal(page, c.zero[:len(page)]) }
