package capture

import (
	"errors"
	"runtime"
	"syscall"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/uffd"
)

// precopy copies the memory while the target runs, and follows what is written
// meanwhile. The stop is for what was written last: its length does not depend
// on the size of the target but on how fast it writes.
func (j *job) precopy() (r *Report, err error) {
	out, ok := j.out.(Rewritable)
	if !ok {
		return nil, fmt.Errorf("precopy: the output cannot be written again: %w", errUnfit)
	}
	if err := j.passOver(); err != nil {
		return nil, err
	}
	maps, site, err := j.before()
	if err != nil {
		return nil, err
	}
	if err := j.followable(maps); err != nil {
		return nil, err
	}
	f := &following{
		job: j, out: out, known: maps, id: j.living(),
		filed: map[origin]bool{}, elf: map[span]bool{},
		regions: make([]procfs.Region, regionRoom),
		bufs:    buffers(out, min(runtime.GOMAXPROCS(0), maxCopiers)),
	}
	err = ptrace.Run(func() error {
		r, err = f.capture(site)
		return err
	})
	if err == nil && j.process.Exited() {
		err = j.gone() // pages may have vanished below the copy
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// room is what headers and notes may take. It is a hole where they take less.
func (f *following) room() (uint64, error) {
	tids, err := procfs.Tasks(f.PID)
	return uint64(1<<20 + 16<<10*(len(tids)+64) + 512*len(f.known)), err
}

func (f *following) capture(site ptrace.Site) (*Report, error) {
	f.reapLeft(site)
	var err error
	if f.layout, err = procfs.OpenLayout(f.id); errors.Is(err, syscall.ENOTTY) {
		return nil, fmt.Errorf("precopy: this kernel has no PROCMAP_QUERY: %w", errUnfit)
	}
	if err != nil {
		return nil, f.explain(err)
	}
	file, first, err := ptrace.Userfaultfd(f.PID, site)
	if errors.Is(err, ptrace.ErrCall) {
		err = fmt.Errorf("%w: %w", err, errUnfit)
	}
	if err != nil {
		f.layout.Close()
		return nil, f.explain(err)
	}
	if f.tracker, err = uffd.New(file); err != nil {
		f.layout.Close()
		return nil, fmt.Errorf("%w: %w", err, errUnfit)
	}
	defer f.unfollow()
	if f.src, err = openSource(f.id); err != nil {
		return nil, f.explain(err)
	}
	defer f.src.Close()
	if f.filter, err = procfs.CoredumpFilter(f.id); err != nil {
		return nil, err
	}
	if f.next, err = f.room(); err != nil {
		return nil, err
	}
	f.next = (f.next + procfs.PageSize - 1) / procfs.PageSize * procfs.PageSize
	head := f.next
	if err := f.follow(f.ctx); err != nil {
		return nil, f.failed(err)
	}
	if f.known, err = procfs.ReadSmaps(f.id); err != nil {
		return nil, err
	}
	if err := f.worth(); err != nil {
		return nil, err
	}
	rest := f.newRest()
	var m *moment
	pause, err := f.hold(func(s *ptrace.Session, at *moment) (err error) {
		m = at
		return f.guard(rest.take, rest.steps.Load)
	})
	if m == nil {
		rest.end()
	}
	if err == nil {
		err = f.unseen()
	}
	if err != nil {
		return nil, f.failed(err)
	}
	return f.finish(m, rest, head, max(first, pause))
}

// failed words the end of a copy.
func (f *following) failed(err error) error {
	switch {
	case f.ctx.Err() != nil:
		return fmt.Errorf("pid %d: capture called off", f.PID)
	case f.process.Exited():
		return f.gone()
	case errors.Is(err, syscall.ENOTTY):
		return fmt.Errorf("precopy: this kernel has no PAGEMAP_SCAN: %w", errUnfit)
	case errors.Is(err, errFull):
		return fmt.Errorf("precopy: %w: %w", err, errUnfit)
	}
	return err
}

// worth says whether the stop is likely to be shorter than that of a fork. Who
// asked for this mode gets it.
func (f *following) worth() error {
	mine := f.predictPause(min(runtime.GOMAXPROCS(0), maxCopiers))
	if forked := f.load(f.known).forkPause(); mine > forked && f.opt.Mode != precopyMode {
		return fmt.Errorf("precopy: %d pages were written during the last round, predicted pause %v over %v: %w", f.pages, mine.Round(0), forked.Round(0), errUnfit)
	}
	return nil
}

// finish completes the core after the target went on.
func (f *following) finish(m *moment, rest *rest, room uint64, pause time.Duration) (*Report, error) {
	if err := rest.write(); err != nil {
		return nil, f.failed(err)
	}
	img := f.image(rest)
	c, err := f.copyLate(rest, img)
	if err != nil {
		return nil, f.failed(err)
	}
	notes, err := f.notes(m, m.id(), rest.maps)
	if err != nil {
		return nil, err
	}
	head := corefile.Head(machine, notes, img.segments, procfs.PageSize)
	if uint64(len(head)) > room {
		return nil, fmt.Errorf("precopy: %d bytes of notes, room for %d: %w", len(head), room, errUnfit)
	}
	if err := f.unshown(img, func(at, size uint64) error { return f.out.Clear(int64(at), int64(size)) }); err != nil {
		return nil, f.failed(err)
	}
	if _, err := f.out.WriteAt(head, 0); err != nil {
		return nil, f.failed(err)
	}
	r := m.report(pause)
	r.Reason = fmt.Sprintf("followed in %d rounds, %d pages in the stop", f.rounds, len(rest.pieces))
	r.Size, r.Unread = int64(f.next), int64(rest.unread)+c.unread.Load()
	r.Shared, r.BuildIDs = img.shared(), buildIDs(rest.maps, f.src)
	if r.Bytes, err = f.out.Allocated(); err != nil {
		return nil, err
	}
	return r, f.fits(r.Bytes) // it may have grown
}

// image is what the core shows: the mappings of the stop, and of each what the
// copy has a place for.
func (f *following) image(rest *rest) *image {
	f.know(rest.maps)
	img := &image{}
	for i, m := range rest.maps {
		if m.Name == "[vsyscall]" {
			continue
		}
		e, size := rest.extents[i], uint64(0)
		if m.Flags == "" {
			if m = f.describe(m); keep(m, f.filter) == nothing {
				e = nothing
			}
		}
		switch {
		case e == header:
			size = procfs.PageSize
		case e != nothing:
			size = m.Size()
		}
		if kindOf(m, e) == late {
			f.put(m.Start, m.End)
		}
		f.show(img, m, size, e)
	}
	return img
}

// know asks for the flags of mappings that came into being just before the stop:
// MADV_DONTDUMP counts for them, too.
func (f *following) know(maps []procfs.Mapping) {
	for _, m := range maps {
		if m.Flags == "" {
			if now, err := procfs.ReadSmaps(f.id); err == nil {
				f.known = now
			}
			return
		}
	}
}

// copyLate copies shared memory, which is never of the moment. What took its place
// meanwhile is none of it.
func (f *following) copyLate(rest *rest, img *image) (*copier, error) {
	if err := f.out.SetSize(int64(f.next)); err != nil {
		return nil, err
	}
	shared := &image{}
	for i, s := range img.segments {
		if img.maps[i].Shared() && s.FileSize > 0 {
			shared.add(s, img.maps[i], img.extents[i])
		}
	}
	c := newCopier(f.src, f.out)
	c.beside = true
	err := c.run(f.ctx, f.bufs, func(add func(piece) error) error { return shared.plan(f.src, c, add) })
	for i, s := range shared.segments {
		if err == nil && !f.stays(shared.maps[i]) {
			c.unread.Add(int64(s.FileSize))
			err = f.out.Clear(int64(s.Offset), int64(s.FileSize))
		}
	}
	return c, err
}

// stays says whether a range shows the same part of the same file as it did.
func (f *following) stays(m procfs.Mapping) bool {
	for addr := m.Start; addr < m.End; {
		now, ok, err := f.layout.At(addr)
		if err != nil || !ok || now.Start > addr || !now.Shared() || now.Inode != m.Inode || now.Offset-now.Start != m.Offset-m.Start {
			return false
		}
		addr = now.End
	}
	return true
}
