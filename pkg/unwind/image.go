package unwind

import (
	"bytes"
	"io"
)

// ELF words used here (elf(5)).
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64
	symbolSize  = 24

	ptLoad    = 1
	ptDynamic = 2
	ptNote    = 4
	ptEHFrame = 0x6474e550

	shtSymtab  = 2
	shtNoBits  = 8
	shtDynsym  = 11
	compressed = 1 << 11

	dtStrtab = 5
	dtSymtab = 6

	ntBuildID = 3
)

const (
	maxPrograms = 128
	maxSections = 1 << 14
	maxNote     = 64 << 10
)

// image is an ELF file: what is known of its code.
type image struct {
	*file
	machine  uint16
	buildID  []byte
	base     uint64 // where it is loaded, if it is read from there
	segments []segment
	header   segment // .eh_frame_hdr
	dynamic  segment

	text, ehFrame, debugFrame, gopclntab, debugdata section
	symtab, dynsym                                  table

	index  []entry // of call frame information that has no table of its own
	listed bool
	goTab  *goTable
}

type segment struct {
	offset, addr, size uint64
	executable         bool
}

type section struct{ offset, addr, size uint64 }

// table is a table of symbols and its strings.
type table struct{ symbols, strings section }

// openImage reads the headers of a file; nil if it is no ELF file of a 64-bit
// little-endian machine.
func openImage(w *window, r io.ReaderAt, size int64) *image { return newImage(w, r, size, 0) }

func newImage(w *window, r io.ReaderAt, size int64, base uint64) *image {
	im := &image{file: &file{w: w, r: r, size: uint64(max(size, 0))}, base: base}
	sections, ok := im.programs()
	if !ok {
		return nil
	}
	im.sections(sections)
	im.goTab = im.openGo()
	return im
}

// openLoaded reads the image that lies in memory, such as the vdso, or what is
// left of a file that was deleted. Only what is loaded can be read.
func openLoaded(w *window, memory io.ReaderAt, base uint64) *image {
	if base>>63 != 0 {
		return nil
	}
	l := &loaded{memory: memory, base: base}
	im := &image{file: &file{w: newWindow(), r: l, size: blockSize}}
	if _, ok := im.programs(); !ok || len(im.segments) == 0 {
		return nil
	}
	l.segments = im.segments
	end := uint64(0)
	for _, s := range l.segments {
		end = max(end, s.offset+s.size)
	}
	return newImage(w, l, int64(min(end, 1<<40)), base)
}

// loaded shows memory as the file that it was loaded from.
type loaded struct {
	memory   io.ReaderAt
	base     uint64 // where the first byte of the file is
	segments []segment
}

func (l *loaded) ReadAt(p []byte, at int64) (n int, err error) {
	if l.segments == nil {
		return l.memory.ReadAt(p, int64(l.base)+at)
	}
	first := l.segments[0]
	clear(p)
	for _, s := range l.segments {
		// The part of p that this segment holds.
		from, to := max(uint64(at), s.offset), min(uint64(at)+uint64(len(p)), s.offset+s.size)
		if from >= to {
			continue
		}
		addr := l.base + (s.addr - s.offset) - (first.addr - first.offset) + from
		if addr>>63 != 0 {
			continue
		}
		// What is not there stays zero.
		l.memory.ReadAt(p[from-uint64(at):to-uint64(at)], int64(addr))
	}
	return len(p), nil
}

// programs reads the ELF header and the program headers, and returns the header.
func (im *image) programs() (header []byte, ok bool) {
	h := im.read(0, headerSize)
	if len(h) < headerSize || string(h[:4]) != "\x7fELF" || h[4] != 2 || h[5] != 1 {
		return nil, false
	}
	im.machine = le.Uint16(h[18:])
	if le.Uint16(h[54:]) != programSize {
		return h, true // as a relocatable file, it has none
	}
	at := le.Uint64(h[32:])
	for i := range min(uint64(le.Uint16(h[56:])), maxPrograms) {
		p := im.read(at+i*programSize, programSize)
		if len(p) < programSize {
			break
		}
		s := segment{offset: le.Uint64(p[8:]), addr: le.Uint64(p[16:]), size: le.Uint64(p[32:]), executable: le.Uint32(p[4:])&1 != 0}
		if s.offset+s.size < s.offset || s.addr+s.size < s.addr {
			continue
		}
		switch le.Uint32(p) {
		case ptLoad:
			im.segments = append(im.segments, s)
		case ptDynamic:
			im.dynamic = s
		case ptEHFrame:
			im.header = s
		case ptNote:
			im.note(im.read(s.offset, min(s.size, maxNote)))
		}
	}
	return h, true
}

// note looks for the build id.
func (im *image) note(b []byte) {
	c := cursor{b: b}
	for len(c.b) >= 12 && im.buildID == nil {
		name, desc, kind := c.fixed(4), c.fixed(4), c.fixed(4)
		owner := c.take((name + 3) &^ 3)
		id := c.take(desc)
		c.skip(min(-desc&3, uint64(len(c.b))))
		if kind == ntBuildID && name == 4 && string(owner) == "GNU\x00" && desc > 0 && desc <= 64 && id != nil {
			im.buildID = bytes.Clone(id)
		}
	}
}

// sections reads the section headers, if there are any.
func (im *image) sections(h []byte) {
	at, count, names := le.Uint64(h[40:]), uint64(le.Uint16(h[60:])), uint64(le.Uint16(h[62:]))
	if at == 0 || le.Uint16(h[58:]) != sectionSize || count > maxSections {
		count = 0
	}
	raw := func(i uint64) []byte {
		if b := im.read(at+i*sectionSize, sectionSize); i < count && len(b) == sectionSize {
			return b
		}
		return nil
	}
	data := func(b []byte) section {
		return section{offset: le.Uint64(b[24:]), addr: le.Uint64(b[16:]), size: le.Uint64(b[32:])}
	}
	var strings section
	if b := raw(names); b != nil {
		strings = data(b)
	}
	for i := range count {
		b := raw(i)
		if b == nil {
			break
		}
		kind, s := le.Uint32(b[4:]), data(b)
		if kind == shtNoBits || le.Uint64(b[8:])&compressed != 0 || s.offset+s.size < s.offset {
			continue
		}
		switch kind {
		case shtSymtab, shtDynsym:
			linked := raw(uint64(le.Uint32(b[40:])))
			if linked == nil {
				continue
			}
			t := table{s, data(linked)}
			if kind == shtSymtab {
				im.symtab = t
			} else {
				im.dynsym = t
			}
			continue
		}
		name, _, _ := bytes.Cut(im.read(strings.offset+uint64(le.Uint32(b)), 32), []byte{0})
		im.named(string(name), s)
	}
	if im.dynsym.symbols.size == 0 {
		im.findDynsym()
	}
}

func (im *image) named(name string, s section) {
	switch name {
	case ".text":
		im.text = s
	case ".eh_frame":
		im.ehFrame = s
	case ".debug_frame":
		im.debugFrame = s
	case ".gopclntab", ".data.rel.ro.gopclntab":
		im.gopclntab = s
	case ".gnu_debugdata":
		im.debugdata = s
	}
}

// findDynsym finds the dynamic symbols as the loader does. How many there are
// is told by the strings, which every linker puts behind them.
func (im *image) findDynsym() {
	var symbols, strings uint64
	for b := im.read(im.dynamic.offset, min(im.dynamic.size, maxNote)); len(b) >= 16; b = b[16:] {
		switch le.Uint64(b) {
		case dtSymtab:
			symbols = le.Uint64(b[8:])
		case dtStrtab:
			strings = le.Uint64(b[8:])
		}
	}
	if im.base != 0 && symbols >= im.base && strings >= im.base {
		// The loader has made them addresses of this process.
		symbols, strings = symbols-im.base, strings-im.base
	}
	at, ok := im.offset(symbols)
	end, ok2 := im.offset(strings)
	if symbols != 0 && ok && ok2 && at < end {
		im.dynsym = table{section{offset: at, size: end - at}, section{offset: end, size: im.size - min(end, im.size)}}
	}
}

// offset gives the place in the file of a link-time address.
func (im *image) offset(addr uint64) (uint64, bool) {
	for _, s := range im.segments {
		if addr >= s.addr && addr-s.addr < s.size {
			return s.offset + addr - s.addr, true
		}
	}
	return 0, false
}

// bias is what a mapping adds to link-time addresses.
func (im *image) bias(m Mapping) (uint64, bool) {
	const page = 4096
	for _, s := range im.segments {
		if start := s.offset &^ (page - 1); s.executable && m.Offset >= start && m.Offset < s.offset+s.size {
			return m.Start - m.Offset + s.offset - s.addr, true
		}
	}
	return 0, false
}

// at returns up to n bytes at a link-time address, for a cursor.
func (im *image) at(addr, n uint64) cursor {
	off, ok := im.offset(addr)
	if !ok {
		return cursor{bad: true}
	}
	return cursor{b: im.read(off, n), addr: addr}
}
