package capture

import (
	"errors"
	"slices"
	"syscall"

	"vigil/pkg/procfs"
)

var (
	// written asks for, and protects anew, what was written.
	written = procfs.Query{Flags: procfs.Protect | procfs.CheckAsync, All: procfs.Written, AnyOf: procfs.Present | procfs.Swapped, Returns: procfs.Written}
	// present asks for all there is in a range that is followed.
	present = procfs.Query{Flags: procfs.CheckAsync, AnyOf: procfs.Present | procfs.Swapped}
	// filled leaves out what reads as zero, for a place in the core that does so, too. A
	// debugger that has read all of a process leaves gigabytes of that.
	filled = procfs.Query{Flags: procfs.CheckAsync, Inverted: procfs.Zero, All: procfs.Zero, AnyOf: procfs.Present | procfs.Swapped}
)

// register begins to follow all that can be followed, before anything is
// protected. The target may change its mappings at this very moment, and to
// register what no longer is a whole mapping would cut one into two: mremap(2) of
// it fails for the target then and, from Linux 6.17 on, may have moved the first
// part before it fails. So whole ranges are registered, each from one mapping that
// is not followed to the next: no cut lies where mappings come and go.
//
// What is mapped later is left to the stop. To register it would either cut, or
// take in neighbours of which nobody knows what their marks mean: those that a
// mapping bears since it was moved, or since a followed one was moved beside it,
// upon which the kernel follows neither.
func (f *following) register(maps []procfs.Mapping) {
	follows := func(m procfs.Mapping) bool { return kindOf(m, f.extentOf(m)) == tracked && !m.Has("dp") }
	for i := 0; i < len(maps); i++ {
		if !follows(maps[i]) {
			continue
		}
		first := i
		for i+1 < len(maps) && follows(maps[i+1]) {
			i++
		}
		start, end := maps[first].Start, maps[i].End
		if first > 0 {
			start = maps[first-1].End
		}
		if i+1 < len(maps) && maps[i+1].Name != "[vsyscall]" {
			end = maps[i+1].Start
		}
		if f.tracker.Register(start, end) != nil {
			f.registerEach(maps[first : i+1])
		}
	}
}

// registerEach is for a range in which something cannot be followed.
func (f *following) registerEach(maps []procfs.Mapping) {
	for _, m := range maps {
		if f.current(m) && f.tracker.Register(m.Start, m.End) == nil && !f.current(m) {
			f.tracker.Unregister(m.Start, m.End, m.End)
		}
	}
}

// current says whether the mapping still is as it was when it was listed.
func (f *following) current(m procfs.Mapping) bool {
	now, ok, err := f.layout.At(m.Start)
	return err == nil && ok && now.Start == m.Start && now.End == m.End && now.Inode == m.Inode && now.Offset == m.Offset
}

// track protects and hands out what was written in a mapping. The protection
// comes before the copy, so that what is written meanwhile is found by the next
// round. Where that fails it is not followed (any more), or changes right now, and
// some of it may be protected and not copied: so each mapping that lies there is
// tried by itself, and copied whole. What is left is for the stop.
func (f *following) track(m procfs.Mapping, add func(piece) error) error {
	fresh := f.rounds == 0 || slices.ContainsFunc(f.unsure, func(u span) bool { return u.start < m.End && m.Start < u.end })
	q := present
	if f.rounds == 0 {
		q = filled
	}
	err := f.steps(m, fresh, q, add)
	if err == nil && fresh {
		f.sure(spanOf(m))
	}
	if !errors.Is(err, syscall.EPERM) {
		return err
	}
	for addr := m.Start; addr < m.End; {
		part, ok, err := f.layout.At(addr)
		if err != nil {
			return err
		}
		if !ok || part.Start >= m.End {
			break
		}
		addr = part.End
		part.Start, part.End = max(part.Start, m.Start), min(part.End, m.End)
		if err := f.trackPart(part, add); err != nil {
			return err
		}
	}
	return nil
}

func (f *following) trackPart(m procfs.Mapping, add func(piece) error) error {
	err := f.steps(m, true, present, add)
	if err == nil || errors.Is(err, syscall.EPERM) {
		f.sure(spanOf(m))
	}
	if errors.Is(err, syscall.EPERM) {
		f.unsure = append(f.unsure, spanOf(m))
		err = f.src.Present(m.Start, m.End, func(start, end uint64) error {
			f.pages += (end - start) / procfs.PageSize
			return nil
		})
	}
	return err
}

// sure forgets doubts about a range.
func (f *following) sure(s span) {
	f.unsure = slices.DeleteFunc(f.unsure, func(u span) bool { return s.start <= u.start && u.end <= s.end })
}

// steps does what track has to do with a mapping that is registered. Of a fresh one
// it hands out what matches there.
func (f *following) steps(m procfs.Mapping, fresh bool, there procfs.Query, add func(piece) error) error {
	var regions []procfs.Region
	for lo, hi := m.Start, uint64(0); lo < m.End; lo = hi {
		// To protect a part of a huge page splits it.
		hi = min((lo+followStep)&^(followStep-1), m.End)
		var err error
		regions, err = f.src.Scan(written, lo, hi, f.regions, regions[:0])
		if err == nil && fresh {
			regions, err = f.src.Scan(there, lo, hi, f.regions, regions[:0])
		}
		if err != nil {
			return err
		}
		if len(regions) == 0 {
			continue
		}
		before := f.next
		if f.put(m.Start, m.End); f.next != before {
			if err := f.out.SetSize(int64(f.next)); err != nil {
				return err
			}
		}
		for _, r := range regions {
			f.pages += r.Size() / procfs.PageSize
			if err := f.hand(r.Start, r.End, forked(m), add); err != nil {
				return err
			}
		}
	}
	return nil
}

// unfollow ends all registrations, gently, and from the top down: of several
// mappings, of which the first is followed, mremap(2) moves none.
func (f *following) unfollow() {
	var all []procfs.Mapping
	for addr := uint64(0); ; {
		m, ok, err := f.layout.At(addr)
		if err != nil || !ok {
			break
		}
		all = append(all, m)
		if addr = m.End; addr == 0 {
			break
		}
	}
	for i, m := range slices.Backward(all) {
		if m.Shared() || m.Inode != 0 || m.Perm == "--xp" {
			continue
		}
		room := m.End
		if i+1 < len(all) && all[i+1].Perm != "--xp" {
			room = all[i+1].Start
		}
		f.tracker.Unregister(m.Start, m.End, room)
	}
	f.tracker.Close()
	f.layout.Close()
}
