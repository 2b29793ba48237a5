package capture

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/uffd"
)

// Rewritable is an Output whose parts may be written again, and cleared.
type Rewritable interface {
	Output
	// Clear makes a part read as zero.
	Clear(at, size int64) error
	// Allocated is how many bytes it takes where it lies.
	Allocated() (int64, error)
}

const (
	followStep = 64 << 20 // scanned, protected and copied at a time
	fewPages   = 512      // written in the last round: the next can be left to the stop
	mostRounds = 10
	slowRounds = 2 // that did not shrink by a tenth

	regionRoom = 1 << 16 // regions of one call of PAGEMAP_SCAN
)

// following copies the memory of a process that runs, again and again what was
// written meanwhile, until little is left for the stop.
type following struct {
	*job
	src     procSource
	id      int
	out     Rewritable
	tracker *uffd.Tracker
	layout  *procfs.Layout
	placing
	bufs    [][]byte
	regions []procfs.Region

	known  []procfs.Mapping // smaps of the start: the flags and counts of each
	filed  map[origin]bool  // mappings of files; true: the content of the file was copied
	unsure []span           // the image may lack what is there: to be copied whole
	elf    map[span]bool    // of the last listing: begin with the header of an ELF file
	filter uint64

	rounds int
	pages  uint64 // written in the last round
}

type span struct{ start, end uint64 }

func spanOf(m procfs.Mapping) span { return span{m.Start, m.End} }

// origin is which part of which file a mapping shows: another one may take its
// place at any time.
type origin struct {
	span
	offset, inode uint64
	major, minor  uint32
}

func originOf(m procfs.Mapping) origin {
	return origin{spanOf(m), m.Offset, m.Inode, m.DevMajor, m.DevMinor}
}

// forget forgets of what has vanished since the last listing, or lies there along
// with something else: its place in the core may be overwritten with other bytes.
func (f *following) forget(maps []procfs.Mapping) {
	clear(f.elf)
	for o := range f.filed {
		i, found := slices.BinarySearchFunc(maps, o.start, func(m procfs.Mapping, addr uint64) int { return cmp.Compare(m.Start, addr) })
		if !found || originOf(maps[i]) != o || i > 0 && maps[i-1].End > o.start || i+1 < len(maps) && maps[i+1].Start < o.end {
			delete(f.filed, o)
		}
	}
}

// describe gives a mapping of /proc/PID/maps the flags and counts that smaps
// knew of it; a new one counts as populated.
func (f *following) describe(m procfs.Mapping) procfs.Mapping {
	i, _ := slices.BinarySearchFunc(f.known, m.Start, func(k procfs.Mapping, addr uint64) int {
		if k.End <= addr {
			return -1
		}
		return 1
	})
	if i < len(f.known) {
		if k := f.known[i]; k.Start <= m.Start && k.Inode == m.Inode && k.Shared() == m.Shared() {
			m.Flags, m.RSS, m.Anonymous, m.Swap, m.Common, m.Huge = k.Flags, k.RSS, k.Anonymous, k.Swap, k.Common, k.Huge
		}
	}
	if m.Inode == 0 {
		m.RSS = max(m.RSS, 1)
	} else if m.Perm[1] == 'w' || m.Flags == "" {
		m.Anonymous = max(m.Anonymous, 1) // it may be written to until the stop
	}
	return m
}

// mappings are those of the target now.
func (f *following) mappings() ([]procfs.Mapping, error) {
	maps, cut, err := procfs.ReadMaps(f.id, mapsLimit)
	if cut {
		return nil, fmt.Errorf("precopy: too many mappings: %w", errUnfit)
	}
	for i := range maps {
		maps[i] = f.describe(maps[i])
	}
	f.forget(maps)
	return maps, err
}

func (f *following) extentOf(m procfs.Mapping) extent {
	if m.Name == "[vsyscall]" {
		return nothing
	}
	e := keep(m, f.filter)
	if e != header {
		return e
	}
	is, seen := f.elf[spanOf(m)]
	if !seen {
		is = startsELF(f.src, m.Start)
		f.elf[spanOf(m)] = is
	}
	if !is {
		return nothing
	}
	return header
}

// follow takes rounds until the rest is small, or does not shrink any more.
func (f *following) follow(ctx context.Context) error {
	defer ptrace.Linger()()
	last, slow := uint64(0), 0
	for f.rounds < mostRounds && slow < slowRounds {
		if err := f.round(ctx); err != nil {
			return err
		}
		f.rounds++
		if f.rounds > 1 && f.pages < fewPages {
			break
		}
		if f.rounds > 2 && f.pages > last/10*9 {
			slow++
		}
		last = f.pages
	}
	return nil
}

// round protects and copies what was written since the last one.
func (f *following) round(ctx context.Context) error {
	maps, err := f.mappings()
	if err != nil {
		return err
	}
	if f.rounds == 0 {
		f.register(maps)
	}
	c := newCopier(f.src, f.out)
	c.beside, c.overwrite, c.remember = true, f.rounds > 0, true
	f.pages = 0
	defer f.tell(c)()
	err = c.run(ctx, f.bufs, func(add func(piece) error) error {
		for _, m := range maps {
			if err := f.visit(m, c, add); err != nil {
				return err
			}
		}
		return nil
	})
	for _, p := range c.lost { // could not be read when it was their turn
		f.unsure = append(f.unsure, span{p.addr, p.addr + p.size})
	}
	return err
}

// tell reports the progress of a copy until the returned function is called.
func (f *following) tell(c *copier) (stop func()) {
	if f.opt.Progress == nil || f.rounds > 0 {
		return func() {}
	}
	total := f.expected()
	done := make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		tick := time.NewTicker(stallLimit / 50)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f.opt.Progress(c.written.Load(), total)
			}
		}
	})
	return func() {
		close(done)
		teller.Wait()
	}
}

func (f *following) expected() (n int64) {
	for _, m := range f.known {
		if f.extentOf(m) != nothing {
			n += int64(m.RSS + m.Swap)
		}
	}
	return n
}

// visit does what a round has to do for one mapping.
func (f *following) visit(m procfs.Mapping, c *copier, add func(piece) error) error {
	switch kindOf(m, f.extentOf(m)) {
	case tracked:
		return f.track(m, add)
	case filed:
		return f.fromFile(m, c)
	}
	return nil
}

// hand hands the parts of a range to the copier.
func (f *following) hand(start, end uint64, gentle bool, add func(piece) error) error {
	return f.each(start, end, func(start, end, at uint64) error {
		return add(piece{addr: start, size: end - start, at: at, gentle: gentle})
	})
}

// fromFile copies what a private mapping shows where the process has not written
// to it: the file. To read that through the memory of the process would race with
// its writes. Where the file cannot be had, all is left to the stop.
func (f *following) fromFile(m procfs.Mapping, c *copier) error {
	o := originOf(m)
	if _, tried := f.filed[o]; tried {
		return nil
	}
	was := f.current(m)
	file, err := procfs.OpenMapped(f.id, m)
	if err != nil {
		f.filed[o] = false
		return nil
	}
	defer file.Close()
	if f.filed[o] = was && f.current(m); !f.filed[o] {
		return nil // what was opened may be the file of another mapping
	}
	f.put(m.Start, m.End)
	if err := f.out.SetSize(int64(f.next)); err != nil {
		return err
	}
	buf := make([]byte, min(m.Size(), batchSize))
	return f.each(m.Start, m.End, func(start, end, at uint64) error {
		for start < end {
			b := buf[:min(end-start, uint64(len(buf)))]
			n, err := file.ReadAt(b, int64(m.Offset+start-m.Start))
			if err != nil {
				clear(b[n:]) // behind the end of the file
			}
			if err := c.store(b, at); err != nil {
				return err
			}
			start, at = start+uint64(len(b)), at+uint64(len(b))
		}
		return nil
	})
}

// ownPages adds the pages of a mapping of a file that are not the file's.
func (f *following) ownPages(m procfs.Mapping, now []span) ([]span, error) {
	q := procfs.Query{Inverted: procfs.File, All: procfs.File, AnyOf: procfs.Present | procfs.Swapped, Returns: procfs.Present}
	regions, err := f.src.Scan(q, m.Start, m.End, f.regions, nil)
	for _, r := range regions {
		now = append(now, span{r.Start, r.End})
	}
	return now, err
}

// predictPause estimates the stop of a capture that ends now.
func (f *following) predictPause(scanners int) time.Duration {
	size := uint64(0)
	for _, m := range f.known {
		if kindOf(m, keep(m, f.filter)) == tracked {
			size += m.RSS + m.Swap
		}
	}
	return precopyPause(size, f.pages, scanners)
}
