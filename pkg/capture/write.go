package capture

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

const (
	// stallLimit is how long the target may stand while the copy does not move: a
	// reader of the pipe that is itself stopped, a disk that hangs, memory served
	// by a userfaultfd of the target.
	stallLimit = 10 * time.Second
	stallLooks = 50 // within that time

	maxCopiers = 4
)

// source is where the memory of a core is read.
type source interface {
	memory
	populace
}

// writing writes the core of a moment from the memory of a process that does
// not change: the target while it stands, or a copy of it.
type writing struct {
	*job
	moment *moment
	id     int // whose /proc shows the memory
	choose func(maps []procfs.Mapping, filter uint64, mem io.ReaderAt) *image
	// around, if set, gives the mappings and the memory as they were at the
	// moment, where /proc/id alone does not.
	around func(maps []procfs.Mapping, s source) ([]procfs.Mapping, source)

	copier atomic.Pointer[copier]
	total  atomic.Int64 // bytes that the copier may have to write

	size   int64
	shared []Region
	ids    []BuildID
	head   int

	partial string
}

// watch does the work and returns when it is done, called off, or stalled.
func (w *writing) watch(bufs [][]byte) error {
	return w.guard(func(ctx context.Context) error { return w.run(ctx, bufs) }, func() int64 {
		c := w.copier.Load()
		if c == nil {
			return 0
		}
		if w.opt.Progress != nil {
			w.opt.Progress(c.written.Load(), w.total.Load())
		}
		return c.steps.Load()
	})
}

// guard does work beside the thread that traces, which must be able to let the
// target go at any time, and returns when it is done, called off, or when steps
// does not grow any more.
func (j *job) guard(work func(context.Context) error, steps func() int64) error {
	ctx, cancel := context.WithCancel(j.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	tick := time.NewTicker(stallLimit / stallLooks)
	defer tick.Stop()
	// Looks are counted, not time: the machine itself may have stood.
	for seen, still := int64(-1), 0; still <= stallLooks; still++ {
		select {
		case err := <-done:
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = j.gone()
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("pid %d: capture called off", j.PID)
		case <-tick.C:
		}
		if n := steps(); n != seen {
			seen, still = n, 0
		}
	}
	return fmt.Errorf("pid %d: copy did not move for %v: target let go", j.PID, stallLimit)
}

// procSource is the memory of a process by its files in /proc.
type procSource struct {
	*ptrace.Memory
	*procfs.Pages
}

func (s procSource) Close() error { return errors.Join(s.Memory.Close(), s.Pages.Close()) }

func openSource(id int) (s procSource, err error) {
	if s.Memory, err = ptrace.OpenMemory(id); err != nil {
		return s, err
	}
	if s.Pages, err = procfs.OpenPages(id); err != nil {
		s.Memory.Close()
	}
	return s, err
}

// run writes the core: headers and notes, then the memory.
func (w *writing) run(ctx context.Context, bufs [][]byte) error {
	maps, err := procfs.ReadSmaps(w.id)
	if err != nil {
		return err
	}
	filter, err := procfs.CoredumpFilter(w.id)
	if err != nil {
		return err
	}
	proc, err := openSource(w.id)
	if err != nil {
		return err
	}
	defer proc.Close()
	var src source = proc
	if w.around != nil {
		maps, src = w.around(maps, proc)
	}
	notes, err := w.notes(w.moment, w.id, maps)
	if err != nil {
		return err
	}
	img := w.choose(maps, filter, src)
	head, size, err := corefile.Lay(machine, notes, img.segments, procfs.PageSize)
	if err != nil {
		return err
	}
	w.head, w.size = len(head), int64(size)
	kept, left := img.within(w.opt.MaxSize, w.moment.stackPointers())
	if left > 0 {
		w.partial = fmt.Sprintf("%d MiB are over the limit", inMiB(left))
	}
	w.total.Store(kept.expected())
	if err := w.out.SetSize(w.size); err != nil {
		return err
	}
	if _, err := w.out.WriteAt(head, 0); err != nil {
		return err
	}
	w.shared, w.ids = img.shared(), buildIDs(maps, src)
	c := newCopier(src, w.out)
	c.beside = w.around != nil // it is a copy that is read
	w.copier.Store(c)
	err = c.run(ctx, bufs, func(add func(piece) error) error {
		// The stacks first: should there be no room for all, a debugger has them.
		if !w.out.Ordered() {
			if err := img.stackTops(w.moment.stackPointers()).plan(src, c, add); err != nil {
				return err
			}
		}
		return kept.plan(src, c, add)
	})
	if errors.Is(err, errFull) {
		w.partial, err = err.Error(), nil
	}
	return err
}

// report is the report of a core that is written.
func (w *writing) report(pause time.Duration) *Report {
	r := w.moment.report(pause)
	c := w.copier.Load()
	r.Bytes, r.Size, r.Unread = int64(w.head)+c.written.Load(), w.size, c.unread.Load()
	r.Shared, r.BuildIDs, r.Partial = w.shared, w.ids, w.partial
	if out, ok := w.out.(Rewritable); ok { // what was written twice counts once
		if n, err := out.Allocated(); err == nil {
			r.Bytes = n
		}
	}
	return r
}
