package capture

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

const (
	arenaLeast = 4 << 20
	arenaMost  = 256 << 20

	scanPart  = 128 << 20 // of memory for one scanner at a time
	smallRun  = 8         // pages: of many runs a shorter one is read as it is, holes and all
	fewRuns   = 256       // are looked at one by one: to read a hole makes the target a page
	gatherMin = 64        // pieces that are worth a second thread
)

// lastWrites asks, without touching any protection, what was written; it is the
// one form of the question for which the kernel has a fast path. Holes count as
// written. kept tells them apart.
var (
	lastWrites = procfs.Query{Flags: procfs.CheckAsync, All: procfs.Written, Returns: procfs.Written}
	kept       = procfs.Query{Flags: procfs.CheckAsync, All: procfs.Written, Returns: procfs.Written | procfs.Present | procfs.Swapped}
)

// rest is what is left to do in the stop: to find what was written since the
// last round, and to copy it. All its memory is there, and touched, before.
type rest struct {
	*following
	maps    []procfs.Mapping // of the stop
	extents []extent         // of the same index
	arena   []byte
	work    chan span
	found   []finding // by scanner
	busy    sync.WaitGroup

	pieces []ptrace.Piece // what was copied, in the arena
	gone   []span         // reads as zero
	unread uint64
	steps  atomic.Int64
}

// finding is what one scanner found.
type finding struct {
	buf, runs []procfs.Region
	dirty     []span
	gone      []span
	unknown   []span // not followed
	err       error
}

func (f *following) newRest() *rest {
	size := min(max(arenaLeast, 3*f.pages*procfs.PageSize), arenaMost)
	r := &rest{following: f, arena: make([]byte, size), work: make(chan span, 1<<14)}
	for i := uint64(0); i < size; i += procfs.PageSize {
		r.arena[i] = 1
	}
	r.pieces = make([]ptrace.Piece, 0, size/procfs.PageSize)
	work := r.work // which end forgets
	scanners := min(runtime.GOMAXPROCS(0), maxCopiers)
	r.found = make([]finding, scanners)
	for i := range r.found {
		w := &r.found[i]
		w.buf, w.runs = make([]procfs.Region, regionRoom), make([]procfs.Region, 0, regionRoom)
		r.busy.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer ptrace.Hurry()()
			for s := range work {
				if err := r.scan(w, s); err != nil {
					w.err = err
				}
			}
		})
	}
	return r
}

// end sends the scanners home. Whoever takes the rest does so, else its maker.
func (r *rest) end() {
	if r.work != nil {
		close(r.work)
		r.work = nil
	}
}

// scan looks at one part of a mapping.
func (r *rest) scan(w *finding, s span) error {
	var err error
	if w.runs, err = r.src.Scan(lastWrites, s.start, s.end, w.buf, w.runs[:0]); err != nil {
		if errors.Is(err, syscall.EPERM) {
			w.unknown = append(w.unknown, s)
			return nil
		}
		return err
	}
	long := 0
	for _, run := range w.runs {
		if len(w.runs) > fewRuns && run.Size() <= smallRun*procfs.PageSize {
			w.dirty = append(w.dirty, span{run.Start, run.End})
		} else {
			w.runs[long] = run
			long++
		}
	}
	var sorted []procfs.Region
	for _, run := range w.runs[:long] {
		if sorted, err = r.src.Scan(kept, run.Start, run.End, w.buf, sorted[:0]); err != nil {
			return err
		}
		for _, k := range sorted {
			if k.Categories&(procfs.Present|procfs.Swapped) != 0 {
				w.dirty = append(w.dirty, span{k.Start, k.End})
			} else {
				w.gone = append(w.gone, span{k.Start, k.End})
			}
		}
	}
	return nil
}

// take does it all while the target stands.
func (r *rest) take(ctx context.Context) (err error) {
	defer r.end()
	if r.maps, err = r.mappings(); err != nil {
		return err
	}
	r.steps.Add(1)
	var now []span // to be copied whatever the scanners find
	for _, m := range r.maps {
		if now, err = r.sort(m, now); err != nil {
			return err
		}
	}
	r.end()
	r.busy.Wait()
	for _, w := range r.found {
		if w.err != nil {
			return w.err
		}
		now = append(now, w.dirty...)
		r.gone = append(r.gone, w.gone...)
		for _, s := range w.unknown {
			if now, err = r.populated(s, now); err != nil {
				return err
			}
		}
	}
	r.steps.Add(1)
	return r.copy(ctx, now)
}

// sort gives a mapping to the scanners, or adds to now what of it has to be
// copied.
func (r *rest) sort(m procfs.Mapping, now []span) (_ []span, err error) {
	e := r.extentOf(m)
	r.extents = append(r.extents, e)
	switch kindOf(m, e) {
	case tracked:
		for lo := m.Start; lo < m.End; lo += scanPart {
			r.work <- span{lo, lo + min(scanPart, m.End-lo)}
		}
		for _, u := range r.unsure {
			if u.start < m.End && m.Start < u.end {
				if now, err = r.populated(span{max(u.start, m.Start), min(u.end, m.End)}, now); err != nil {
					return nil, err
				}
			}
		}
	case filed:
		if r.filed[originOf(m)] {
			if own, err := r.ownPages(m, now); err == nil {
				return own, nil
			}
		}
		now = append(now, spanOf(m))
	case small:
		size := m.Size()
		if e == header {
			size = min(size, procfs.PageSize)
		}
		now = append(now, span{m.Start, m.Start + size})
	case atStop:
		return r.populated(spanOf(m), now)
	}
	return now, nil
}

// populated adds what is there of a range of which nothing else is known.
func (r *rest) populated(s span, now []span) ([]span, error) {
	r.gone = append(r.gone, s)
	err := r.src.Present(s.start, s.end, func(start, end uint64) error {
		now = append(now, span{start, end})
		return nil
	})
	return now, err
}

// copy copies into the arena, and what does not fit there to where it belongs.
func (r *rest) copy(ctx context.Context, now []span) error {
	arena := r.arena
	var over []span
	for _, s := range now {
		if n := s.end - s.start; n <= uint64(len(arena)) {
			r.pieces = append(r.pieces, ptrace.Piece{Addr: s.start, B: arena[:n:n]})
			arena = arena[n:]
		} else {
			over = append(over, s)
		}
	}
	r.gather()
	if len(over) == 0 {
		return nil
	}
	// Clearing comes first there, too.
	if err := r.clear(); err != nil {
		return err
	}
	c := newCopier(r.src, r.out)
	c.overwrite = true
	err := c.run(ctx, r.bufs, func(add func(piece) error) error {
		for _, s := range over {
			r.placeOne(s.start)
			r.steps.Add(1)
			if err := r.out.SetSize(int64(r.next)); err != nil {
				return err
			}
			if err := r.hand(s.start, s.end, false, add); err != nil {
				return err
			}
		}
		return nil
	})
	r.unread += uint64(c.unread.Load())
	return err
}

// gather fills the pieces, with two threads where it is worth it.
func (r *rest) gather() {
	gentle := false
	for _, m := range r.known {
		gentle = gentle || m.Inode == 0 && forked(m)
	}
	if len(r.pieces) < gatherMin {
		r.unread += r.src.Gather(r.pieces, gentle)
		return
	}
	half := len(r.pieces) / 2
	other := make(chan uint64)
	go func() { other <- r.src.Gather(r.pieces[half:], gentle) }()
	r.unread += r.src.Gather(r.pieces[:half], gentle)
	r.unread += <-other
}

// clear makes zero what is gone, once.
func (r *rest) clear() error {
	gone := r.gone
	r.gone = nil
	for _, s := range gone {
		err := r.each(s.start, s.end, func(start, end, at uint64) error { return r.out.Clear(int64(at), int64(end-start)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// place sees to it that all that was copied has a place: a mapping as a whole,
// for what of it was not copied is zero.
func (r *rest) place() {
	for _, p := range r.pieces {
		r.placeOne(p.Addr)
	}
}

func (r *rest) placeOne(addr uint64) {
	i, _ := slices.BinarySearchFunc(r.maps, addr, func(m procfs.Mapping, addr uint64) int {
		if m.End <= addr {
			return -1
		}
		return 1
	})
	if i == len(r.maps) || r.maps[i].Start > addr {
		return
	}
	m := r.maps[i]
	size := m.Size()
	if r.extents[i] == header {
		size = min(size, procfs.PageSize)
	}
	r.put(m.Start, m.Start+size)
}

// write brings to the output what was copied in the stop.
func (r *rest) write() error {
	if err := r.clear(); err != nil {
		return err
	}
	r.place()
	if err := r.out.SetSize(int64(r.next)); err != nil {
		return err
	}
	for _, p := range r.pieces {
		end := p.Addr + uint64(len(p.B))
		err := r.each(p.Addr, end, func(start, stop, at uint64) error {
			_, err := r.out.WriteAt(p.B[start-p.Addr:stop-p.Addr], int64(at))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
