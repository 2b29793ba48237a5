package unwind

import (
	"slices"
	"sort"
)

const (
	maxEntry   = 1 << 16  // bytes of a CIE or FDE
	maxEntries = 1 << 20  // of an index made here
	listCost   = 64       // steps for an entry of an index, which stays in memory
	maxFrames  = 64 << 20 // bytes of call frame information that is read for it
)

// entry is a FDE in an index.
type entry struct {
	low, high uint64
	at        uint64 // offset in the file
	debug     bool   // of .debug_frame
}

// byLow sorts an index. sort.Sort is one function for all types; each of those
// of package slices weighs 4 to 14 kB.
type byLow []entry

func (b byLow) Len() int           { return len(b) }
func (b byLow) Less(i, j int) bool { return b[i].low < b[j].low }
func (b byLow) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// fde is the call frame information of a piece of code.
type fde struct {
	cie
	low, size    uint64
	instructions cursor
}

// cie is what many of them have in common.
type cie struct {
	codeAlign    uint64
	dataAlign    int64
	ra           uint64
	encoding     byte // of addresses
	augmented    bool
	signal       bool
	instructions cursor
}

// plan returns how to leave the function at addr, a link-time address; nil if
// the image does not say.
func (im *image) plan(addr uint64, m *machine) *plan {
	if im.goTab != nil {
		if f, ok := im.goTab.find(addr); ok {
			return im.goTab.plan(f, addr, m)
		}
	}
	f, ok := im.findFDE(addr)
	if !ok {
		return nil
	}
	return f.plan(addr, m, im.w)
}

func (im *image) findFDE(addr uint64) (f fde, ok bool) {
	if at, ok := im.searchHeader(addr); ok {
		off, ok := im.offset(at)
		if !ok {
			return f, false
		}
		if f, ok = im.parseFDE(off, at, false); ok && addr-f.low < f.size {
			return f, true
		}
	}
	if !im.listed {
		im.listed = true
		if im.header.size == 0 {
			im.list(im.ehFrame, false)
		}
		im.list(im.debugFrame, true)
		sort.Sort(byLow(im.index))
	}
	i, found := slices.BinarySearchFunc(im.index, addr, func(e entry, a uint64) int {
		switch {
		case e.high <= a:
			return -1
		case e.low > a:
			return 1
		}
		return 0
	})
	if !found {
		return f, false
	}
	e := im.index[i]
	base := im.ehFrame
	if e.debug {
		base = im.debugFrame
	}
	return im.parseFDE(e.at, base.addr+e.at-base.offset, e.debug)
}

// searchHeader searches the table of .eh_frame_hdr for the address of a FDE.
func (im *image) searchHeader(addr uint64) (uint64, bool) {
	h := im.header
	if h.size < 12 {
		return 0, false
	}
	c := im.at(h.addr, 64)
	version, frame, count, table := c.byte(), c.byte(), c.byte(), c.byte()
	if version != 1 || table != peRelData|0x0b { // pairs of sdata4, as all linkers write them
		return 0, false
	}
	c.pointer(frame, h.addr)
	n := c.pointer(count, h.addr)
	if c.bad || n > h.size/8 {
		return 0, false
	}
	off, ok := im.offset(c.addr)
	if !ok {
		return 0, false
	}
	pair := func(i uint64) (low, at uint64) {
		p := cursor{b: im.read(off+8*i, 8)}
		return h.addr + p.signed(4), h.addr + p.signed(4)
	}
	// The last entry that begins at or before addr.
	left, right := uint64(0), n
	for left < right {
		mid := (left + right) / 2
		if low, _ := pair(mid); low <= addr {
			left = mid + 1
		} else {
			right = mid
		}
	}
	if left == 0 {
		return 0, false
	}
	_, at := pair(left - 1)
	return at, true
}

// list adds the FDE of a section to the index.
func (im *image) list(s section, debug bool) {
	if s.size > maxFrames {
		return
	}
	for at := s.offset; at < s.offset+s.size && im.w.spend(listCost); {
		length := cursor{b: im.read(at, 4)}
		n := length.fixed(4)
		if length.bad || n == 0 || n >= 0xfffffff0 {
			return // the end; or 64-bit DWARF, which no linker writes here
		}
		if f, ok := im.parseFDE(at, s.addr+at-s.offset, debug); ok && f.size > 0 && f.low+f.size > f.low {
			im.index = append(im.index, entry{f.low, f.low + f.size, at, debug})
		}
		at += 4 + n
	}
}

// record reads the CIE or FDE at an offset. id is its second word.
func (im *image) record(off, addr uint64) (c cursor, id uint64, ok bool) {
	head := cursor{b: im.read(off, 8)}
	n := head.fixed(4)
	id = head.fixed(4)
	if head.bad || n < 4 || n > maxEntry {
		return c, 0, false
	}
	b := im.read(off+8, n-4)
	return cursor{b: b, addr: addr + 8}, id, uint64(len(b)) == n-4
}

func (im *image) parseFDE(off, addr uint64, debug bool) (f fde, ok bool) {
	c, id, ok := im.record(off, addr)
	switch {
	case !ok, !debug && (id == 0 || id > off+4), debug && id == 0xffffffff:
		return f, false
	case debug:
		f.cie, ok = im.parseCIE(im.debugFrame.offset+id, 0, debug)
	default:
		f.cie, ok = im.parseCIE(off+4-id, addr+4-id, debug)
	}
	if !ok {
		return f, false
	}
	f.low = c.pointer(f.encoding, 0)
	f.size = c.pointer(f.encoding&0x0f, 0)
	if f.augmented {
		c.skip(c.uleb())
	}
	f.instructions = c
	return f, !c.bad
}

func (im *image) parseCIE(off, addr uint64, debug bool) (e cie, ok bool) {
	c, id, ok := im.record(off, addr)
	if !ok || !debug && id != 0 || debug && id != 0xffffffff {
		return e, false
	}
	version := c.byte()
	var augmentation []byte
	for x := c.byte(); x != 0; x = c.byte() {
		augmentation = append(augmentation, x)
	}
	switch version {
	case 1, 3:
	case 4:
		if c.byte() != 8 || c.byte() != 0 { // size of an address, of a segment
			return e, false
		}
	default:
		return e, false
	}
	e.codeAlign, e.dataAlign = c.uleb(), c.sleb()
	if version == 1 {
		e.ra = uint64(c.byte())
	} else {
		e.ra = c.uleb()
	}
	if len(augmentation) > 0 {
		if augmentation[0] != 'z' {
			return e, false
		}
		e.augmented = true
		data := cursor{addr: 0}
		data.b = c.take(c.uleb())
		for _, x := range augmentation[1:] {
			switch x {
			case 'R':
				e.encoding = data.byte()
			case 'P':
				data.pointer(data.byte()&0x7f, 0)
			case 'L':
				data.byte()
			case 'S':
				e.signal = true
			case 'B', 'G': // AArch64: return addresses are signed; memory is tagged
			default:
				return e, false
			}
		}
		if data.bad {
			return e, false
		}
	}
	e.instructions = c
	return e, !c.bad && e.encoding&0x80 == 0 && e.ra < columns
}
