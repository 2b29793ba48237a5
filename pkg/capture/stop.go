package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

const (
	// stopLimit is how long a thread that is ready to run is waited for.
	stopLimit = 2 * time.Second

	// stallLimit is how long the target may stand while the copy does not move: a
	// reader of the pipe that is itself stopped, a disk that hangs, memory served
	// by a userfaultfd of the target.
	stallLimit = 10 * time.Second

	maxCopiers = 4
)

// Report says what a capture saw and did.
type Report struct {
	Mode    string
	Threads int
	LeftOut []ptrace.LeftOut // did not stop; they have no registers in the core
	Bytes   int64            // of data in the core, holes left out
	Size    int64            // of the core, holes included
	Unread  int64            // bytes that read as zero because they could not be read
	Pause   time.Duration    // of the target
	Time    time.Time        // of the stop
	BootMS  int64            // the same on CLOCK_BOOTTIME
}

// Stop writes a core of t to out and holds all threads of t until the last byte
// is copied. However it ends, by itself or with the whole program, the target
// goes on as before: stopped if it was stopped. Cancelling ctx, and a copy that
// does not move for ten seconds, let it go at once; the copy may then still
// hang for a while in the background, and out must not be trusted.
func (t *Target) Stop(ctx context.Context, out Output) (*Report, error) {
	r := &Report{Mode: "stop"}
	bufs := buffers(out, min(runtime.GOMAXPROCS(0), maxCopiers))
	err := ptrace.Run(func() error {
		s, err := ptrace.Seize(t.PID)
		if err != nil {
			return t.explain(err)
		}
		defer s.Release()
		if t.process.Exited() {
			return t.gone() // and perhaps another one bears its pid
		}
		// A collection would make the target wait.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		r.Time, r.BootMS = time.Now(), boottime.Now().Milliseconds()
		if err := s.Stop(stopLimit); err != nil {
			return err
		}
		r.LeftOut = s.LeftOut()
		threads, err := readThreads(s.Threads())
		if err != nil {
			return t.threadsLost(err)
		}
		r.Threads = len(threads)
		w := &writing{target: t, threads: threads, out: out}
		err = w.watch(ctx, bufs)
		r.Pause = s.Release()
		if err != nil {
			return err
		}
		r.Bytes, r.Size, r.Unread = w.bytes, w.size, w.unread
		return nil
	})
	if err == nil && t.process.Exited() {
		err = t.gone() // pages may have vanished below the copy
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (t *Target) threadsLost(err error) error {
	switch {
	case errors.Is(err, errNot64):
		return t.not64()
	case errors.Is(err, fs.ErrNotExist):
		return t.gone()
	}
	return fmt.Errorf("pid %d: %w", t.PID, err)
}

// writing is the work done while the target stands. It runs beside the thread
// that traces, which must be able to let go at any time.
type writing struct {
	target  *Target
	threads []thread
	out     Output
	copier  atomic.Pointer[copier]

	bytes, size, unread int64
}

// watch does the work and returns when it is done, called off, or stalled.
func (w *writing) watch(ctx context.Context, bufs [][]byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.run(ctx, bufs) }()
	tick := time.NewTicker(stallLimit / 50)
	defer tick.Stop()
	seen, since := int64(-1), time.Now()
	for {
		select {
		case err := <-done:
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = w.target.gone()
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("pid %d: capture called off", w.target.PID)
		case <-tick.C:
		}
		steps := int64(0)
		if c := w.copier.Load(); c != nil {
			steps = c.steps.Load()
		}
		if steps != seen {
			seen, since = steps, time.Now()
		}
		if time.Since(since) > stallLimit {
			return fmt.Errorf("pid %d: copy did not move for %v: target let go", w.target.PID, stallLimit)
		}
	}
}

// run writes the core: headers and notes, then the memory.
func (w *writing) run(ctx context.Context, bufs [][]byte) error {
	id := w.threads[0].tid // of the first thread that lives: a dead one shows no memory
	maps, err := procfs.ReadSmaps(id)
	if err != nil {
		return err
	}
	filter, err := procfs.CoredumpFilter(id)
	if err != nil {
		return err
	}
	mem, err := ptrace.OpenMemory(id)
	if err != nil {
		return err
	}
	defer mem.Close()
	pages, err := procfs.OpenPages(id)
	if err != nil {
		return err
	}
	defer pages.Close()
	notes, err := w.target.notes(w.threads, maps)
	if err != nil {
		return err
	}
	img := newImage(maps, filter, mem)
	head, size, err := corefile.Lay(machine, notes, img.segments, procfs.PageSize)
	if err != nil {
		return err
	}
	if err := w.out.SetSize(int64(size)); err != nil {
		return err
	}
	if _, err := w.out.WriteAt(head, 0); err != nil {
		return err
	}
	c := newCopier(mem, w.out)
	w.copier.Store(c)
	err = c.run(ctx, bufs, func(add func(piece) error) error { return img.plan(pages, c, add) })
	w.bytes, w.size, w.unread = int64(len(head))+c.written.Load(), int64(size), c.unread.Load()
	return err
}
