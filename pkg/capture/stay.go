package capture

import (
	"cmp"
	"io"
	"slices"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// stayLimit bounds the memory that a copy of the process does not have, so that
// it is copied while the target stands.
const stayLimit = 64 << 20

// stay is the memory that stays behind in a fork: what is marked with
// MADV_DONTFORK or MADV_WIPEONFORK, and huge pages, which the kernel takes from
// the child when the target writes and none is left. It is looked for before the
// stop, for the marks take long to read, and can be something else by then.
type stay struct {
	maps  []procfs.Mapping
	never []procfs.Mapping // that no core has
	runs  []run
	now   []procfs.Mapping // all mappings of the target at the stop, without their marks
	lost  uint64           // bytes that are neither here nor in the child
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
		switch {
		case !staysBehind(m):
		case m.Has("dd"), m.Has("io"), m.Has("pf"):
			s.never = append(s.never, m)
		default:
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
func (s *stay) read(id int) (err error) {
	if s.now, _, err = procfs.ReadMaps(id, mapsLimit); err != nil || len(s.maps) == 0 {
		return err
	}
	src, err := openSource(id)
	if err != nil {
		return err
	}
	defer src.Close()
	left := uint64(2 * stayLimit) // it may have grown
	for _, m := range s.maps {
		err := src.Present(m.Start, m.End, func(start, end uint64) error {
			if end-start > left {
				s.lost += end - start
				return nil
			}
			left -= end - start
			b := make([]byte, end-start)
			n, _ := src.ReadAt(b, int64(start))
			s.runs = append(s.runs, run{start, end, b[:n]})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// insert gives the mappings of the child and those that it lacks. What was read is
// of use only where it stayed behind indeed.
func (s *stay) insert(child []procfs.Mapping) []procfs.Mapping {
	read := s.maps
	s.maps = nil
	take := func(m procfs.Mapping) procfs.Mapping {
		within := func(o procfs.Mapping) bool { return o.Start <= m.Start && m.End <= o.End }
		i := slices.IndexFunc(read, within)
		if i < 0 {
			if !slices.ContainsFunc(s.never, within) {
				s.lost += m.Size()
			}
			m.Flags += " dd" // not in the core
			return m
		}
		old := read[i]
		m.Flags, m.RSS, m.Anonymous, m.Swap, m.Huge = old.Flags, old.RSS, old.Anonymous, old.Swap, old.Huge
		s.maps = append(s.maps, m)
		return m
	}
	all := slices.Clone(child)
	for i, m := range all {
		if staysBehind(m) && !m.Has("dd") && !m.Has("io") && !m.Has("pf") {
			all[i] = take(m)
		}
	}
	for _, m := range s.now {
		i, _ := slices.BinarySearchFunc(child, m.Start, func(c procfs.Mapping, addr uint64) int {
			if c.End <= addr {
				return -1
			}
			return 1
		})
		if i == len(child) || child[i].Start >= m.End {
			all = append(all, take(m))
		}
	}
	slices.SortFunc(all, func(a, b procfs.Mapping) int { return cmp.Compare(a.Start, b.Start) })
	s.clip()
	return all
}

// clip forgets what was read of anything else.
func (s *stay) clip() {
	var runs []run
	for _, m := range s.maps {
		for _, r := range s.runs {
			start, end := max(r.start, m.Start), min(r.end, m.End)
			if start >= end {
				continue
			}
			b := r.b[min(start-r.start, uint64(len(r.b))):]
			runs = append(runs, run{start, end, b[:min(end-start, uint64(len(b)))]})
		}
	}
	s.runs = runs
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
