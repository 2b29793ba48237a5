package capture

import (
	"errors"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sort"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// stayLimit bounds the memory that a copy of the process does not have, so that
// it is copied while the target stands.
const stayLimit = 64 << 20

// fork makes the target fork, lets it go, and copies the memory of its child,
// which shares all pages that are not written meanwhile. The pause is that of
// fork(2): it grows with the number of page tables, not with what they hold.
func (j *job) fork() (r *Report, err error) {
	before, site, err := j.before()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(j.forkable(before), j.roomToFork(before)); err != nil {
		return nil, err
	}
	stay, err := newStay(before)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	bufs := buffers(j.out, min(runtime.GOMAXPROCS(0), maxCopiers))
	w := &writing{job: j, choose: newImage}
	w.around = func(maps []procfs.Mapping, s source) ([]procfs.Mapping, source) {
		return stay.insert(maps), frozen{s, stay}
	}
	var tail error
	err = ptrace.Run(func() error {
		j.reapLeft(site)
		var c *ptrace.Copy
		pause, err := j.hold(func(s *ptrace.Session, m *moment) (err error) {
			stay.read(m.id())
			w.moment = m
			c, err = s.Fork(site)
			return err
		})
		if errors.Is(err, ptrace.ErrCall) {
			return fmt.Errorf("%w: %w", err, errUnfit)
		}
		if err != nil {
			return err
		}
		// Where that cannot be, they stay open until the copy is read.
		_ = c.CloseFiles()
		w.id = c.PID
		err = w.watch(bufs)
		tail = c.End()
		if err == nil {
			r = w.report(pause)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if tail != nil && !errors.Is(tail, fs.ErrNotExist) {
		r.Left = tail.Error()
	}
	return r, nil
}

// before looks at what a mode needs that makes calls in the target.
func (j *job) before() (maps []procfs.Mapping, site ptrace.Site, err error) {
	if j.maps != nil {
		return j.maps, j.site, nil
	}
	id := j.living()
	if maps, err = procfs.ReadSmaps(id); err != nil {
		return nil, site, j.explain(err)
	}
	i := slices.IndexFunc(maps, func(m procfs.Mapping) bool { return m.Name == "[vdso]" })
	if i < 0 {
		return nil, site, fmt.Errorf("pid %d: no vdso: %w", j.PID, errUnfit)
	}
	mem, err := ptrace.OpenMemory(id)
	if err != nil {
		return nil, site, j.explain(err)
	}
	defer mem.Close()
	var text []ptrace.Range
	for _, m := range maps {
		if m.Perm[2] == 'x' && m.Inode != 0 && !m.Shared() {
			text = append(text, ptrace.Range{Start: m.Start, End: m.End})
		}
	}
	site, err = ptrace.FindSite(mem, ptrace.Range{Start: maps[i].Start, End: maps[i].End}, text)
	if errors.Is(err, ptrace.ErrCall) {
		err = fmt.Errorf("%w: %w", err, errUnfit)
	}
	if err == nil {
		j.maps, j.site = maps, site
	}
	return maps, site, err
}

// stay is the memory that stays behind in a fork: what is marked with
// MADV_DONTFORK or MADV_WIPEONFORK, and huge pages, which the kernel takes from
// the child when the target writes and none is left.
type stay struct {
	maps []procfs.Mapping
	runs []run
}

// run is a piece of memory that was read.
type run struct {
	start, end uint64
	b          []byte // shorter where the rest could not be read
}

func staysBehind(m procfs.Mapping) bool {
	return m.Has("dc") || m.Has("wf") || m.Has("ht") && !m.Shared()
}

func newStay(maps []procfs.Mapping) (*stay, error) {
	s := &stay{}
	size := uint64(0)
	for _, m := range maps {
		if staysBehind(m) && !m.Has("dd") && !m.Has("io") && !m.Has("pf") {
			s.maps = append(s.maps, m)
			size += m.RSS + m.Swap + m.Huge
		}
	}
	if size > stayLimit {
		return nil, fmt.Errorf("%d MiB do not go along (DONTFORK, WIPEONFORK, huge pages): %w", size>>20, errUnfit)
	}
	return s, nil
}

// read copies it while the target stands.
func (s *stay) read(id int) {
	if len(s.maps) == 0 {
		return
	}
	src, err := openSource(id)
	if err != nil {
		return // and it is counted as unread
	}
	defer src.Close()
	left := uint64(2 * stayLimit) // it may have grown
	for _, m := range s.maps {
		src.Present(m.Start, m.End, func(start, end uint64) error {
			if end-start > left {
				return io.ErrShortBuffer
			}
			left -= end - start
			b := make([]byte, end-start)
			n, _ := src.ReadAt(b, int64(start))
			s.runs = append(s.runs, run{start, end, b[:n]})
			return nil
		})
	}
}

// insert gives the mappings of the child and those that it lacks.
func (s *stay) insert(maps []procfs.Mapping) []procfs.Mapping {
	all := slices.Clone(s.maps)
	for _, m := range maps {
		if !slices.ContainsFunc(s.maps, func(o procfs.Mapping) bool { return m.Start < o.End && o.Start < m.End }) {
			all = append(all, m)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Start < all[j].Start })
	return all
}

// frozen is the memory of a copy, and of what stayed behind. It is always read
// gently: the pages are shared.
type frozen struct {
	source
	stay *stay
}

func (f frozen) ReadAt(p []byte, addr int64) (int, error) { return f.Gentle(p, addr) }

func (f frozen) Gentle(p []byte, addr int64) (int, error) {
	for _, r := range f.stay.runs {
		if at := uint64(addr); at >= r.start && at < r.end {
			n := 0
			if off := at - r.start; off < uint64(len(r.b)) {
				n = copy(p, r.b[off:])
			}
			if n < len(p) {
				return n, io.ErrNoProgress
			}
			return n, nil
		}
	}
	return f.source.Gentle(p, addr)
}

func (f frozen) Present(start, end uint64, visit func(start, end uint64) error) error {
	for _, m := range f.stay.maps {
		if start < m.Start || start >= m.End {
			continue
		}
		for _, r := range f.stay.runs {
			if r.start >= start && r.end <= end {
				if err := visit(r.start, r.end); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return f.source.Present(start, end, visit)
}
