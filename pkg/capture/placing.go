package capture

import (
	"slices"
	"sort"

	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
)

// placing tells where in a core the memory lies whose mappings are not known yet
// when the first bytes are written: each range of addresses gets a place when it
// is first seen to hold something, and keeps it.
type placing struct {
	places []place // ascending, without overlap
	next   uint64  // first free offset of the core
}

type place struct {
	start, end uint64
	at         uint64 // offset of start
}

// first is the index of the first place that ends behind addr.
func (p *placing) first(addr uint64) int {
	i, _ := slices.BinarySearchFunc(p.places, addr, func(l place, addr uint64) int {
		if l.end <= addr {
			return -1
		}
		return 1
	})
	return i
}

// put gives a place to all of [start, end) that has none.
func (p *placing) put(start, end uint64) {
	var fresh []place
	gap := func(a, b uint64) {
		if a < b {
			fresh = append(fresh, place{a, b, p.next})
			p.next += b - a
		}
	}
	at := start
	for _, l := range p.places[p.first(start):] {
		if l.start >= end {
			break
		}
		gap(at, min(l.start, end))
		at = l.end
	}
	gap(at, end)
	if len(fresh) > 0 {
		p.places = append(p.places, fresh...)
		sort.Slice(p.places, func(i, j int) bool { return p.places[i].start < p.places[j].start })
	}
}

// each visits the parts of [start, end) that have a place, in ascending order.
func (p *placing) each(start, end uint64, visit func(start, end, at uint64) error) error {
	for _, l := range p.places[p.first(start):] {
		if l.start >= end {
			return nil
		}
		a, b := max(start, l.start), min(end, l.end)
		if err := visit(a, b, l.at+a-l.start); err != nil {
			return err
		}
	}
	return nil
}

// show adds to img the segments for the first size bytes of m: those that have a
// place with their bytes, the rest without.
func (p *placing) show(img *image, m procfs.Mapping, size uint64, e extent) {
	at := m.Start
	segment := func(start, end, file, off uint64) {
		if start < end {
			img.add(corefile.Segment{Address: start, MemSize: end - start, FileSize: file, Offset: off, Flags: flags(m)}, m, e)
		}
	}
	p.each(m.Start, m.Start+size, func(start, end, off uint64) error {
		segment(at, start, 0, 0)
		segment(start, end, end-start, off)
		at = end
		return nil
	})
	segment(at, m.End, 0, 0)
}

// unshown visits the places, or their parts, that no segment of img shows: the
// bytes there are not of the moment.
func (p *placing) unshown(img *image, visit func(at, size uint64) error) error {
	shown := make([]corefile.Segment, 0, len(img.segments))
	for _, s := range img.segments {
		if s.FileSize > 0 {
			shown = append(shown, s)
		}
	}
	sort.Slice(shown, func(i, j int) bool { return shown[i].Offset < shown[j].Offset })
	places := slices.Clone(p.places)
	sort.Slice(places, func(i, j int) bool { return places[i].at < places[j].at })
	for _, l := range places {
		at, end := l.at, l.at+l.end-l.start
		for len(shown) > 0 && at < end {
			s := shown[0]
			if s.Offset >= end {
				break
			}
			if at < s.Offset {
				if err := visit(at, s.Offset-at); err != nil {
					return err
				}
			}
			at = max(at, s.Offset+s.FileSize)
			shown = shown[1:]
		}
		if at < end {
			if err := visit(at, end-at); err != nil {
				return err
			}
		}
	}
	return nil
}
