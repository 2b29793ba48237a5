package unwind

import (
	"bytes"
	"slices"
	"sort"
)

// Bindings and types of symbols.
const (
	bindLocal  = 0
	bindGlobal = 1
	bindWeak   = 2

	symSection = 3
	symFile    = 4
	symTLS     = 6
)

const maxName = 4096

// Symbol is the function that an address lies in.
type symbol struct {
	name  string
	start uint64
}

// candidate is the best symbol seen so far for one address.
type candidate struct {
	start, size uint64
	binding     uint8
	name        uint32
	found       bool
}

// search looks up many addresses in one pass over a table: what is kept grows
// with the addresses, not with the table.
type search struct {
	*image
	addrs  []uint64 // ascending
	global []candidate
	local  []candidate
	label  []candidate // without a size; for the first address at or behind it
	ends   []uint64    // the highest end of a symbol at or below an address, since the address before
}

// Name finds the functions of all frames. Each table of symbols is read once,
// so that it wants all stacks in one call.
func (s *Space) Name(stacks []Stack) {
	wanted := map[*image][]uint64{}
	each := func(visit func(*Frame, uint64)) {
		for _, st := range stacks {
			for i := range st.Frames {
				f := &st.Frames[i]
				if f.Module == nil || f.Module.image == nil {
					continue
				}
				addr := f.Offset
				if f.Called {
					addr--
				}
				visit(f, addr)
			}
		}
	}
	each(func(f *Frame, addr uint64) { wanted[f.Module.image] = append(wanted[f.Module.image], addr) })
	names := map[*image]map[uint64]symbol{}
	for im, addrs := range wanted {
		sort.Slice(addrs, func(i, j int) bool { return addrs[i] < addrs[j] })
		names[im] = im.names(slices.Compact(addrs), s.modules)
	}
	each(func(f *Frame, addr uint64) {
		if sym, ok := names[f.Module.image][addr]; ok {
			f.Func, f.Start = sym.name, sym.start
		}
	})
}

// names finds the symbols of ascending link-time addresses.
func (im *image) names(addrs []uint64, modules Modules) map[uint64]symbol {
	out := map[uint64]symbol{}
	rest := addrs[:0]
	for _, a := range addrs {
		if im.goTab != nil {
			if f, ok := im.goTab.find(a); ok {
				out[a] = symbol{im.goTab.funcName(f), f.entry}
				continue
			}
		}
		rest = append(rest, a)
	}
	if len(rest) == 0 {
		return out
	}
	for _, t := range im.symbolTables(modules) {
		t.image.search(t.table, im, rest, out)
		rest = slices.DeleteFunc(rest, func(a uint64) bool { return out[a].name != "" })
	}
	return out
}

type tableOf struct {
	image *image
	table table
}

// symbolTables lists where to look, the best first: the dynamic symbols are a
// part of the others.
func (im *image) symbolTables(modules Modules) (out []tableOf) {
	if im.symtab.symbols.size > 0 {
		out = append(out, tableOf{im, im.symtab})
	} else if len(im.buildID) > 0 {
		if f, size := modules.Debug(im.buildID); f != nil {
			if d := openImage(im.w, f, size); d != nil && bytes.Equal(d.buildID, im.buildID) && d.symtab.symbols.size > 0 {
				out = append(out, tableOf{d, d.symtab})
			}
		}
	}
	if im.dynsym.symbols.size > 0 {
		out = append(out, tableOf{im, im.dynsym})
	}
	if len(out) == 0 || out[0].image == im && im.symtab.symbols.size == 0 { // the dynamic symbols at best
		if d := im.unpacked(); d != nil {
			out = append(out, tableOf{d, d.symtab})
		}
	}
	return out
}

// unpacked is the file in .gnu_debugdata, which has the functions that are not
// among the dynamic symbols.
func (im *image) unpacked() *image {
	s := im.debugdata
	if s.size == 0 || s.size > maxPacked {
		return nil
	}
	b, ok := unxz(im.read(s.offset, s.size), im.w)
	if !ok {
		return nil
	}
	return openImage(im.w, bytes.NewReader(b), int64(len(b)))
}

// each visits the symbols of a table that name a place in the file's code.
func (im *image) each(t table, visit func(value, size uint64, info uint8, shndx uint16, name uint32) bool) {
	const chunk = 256 * symbolSize
	for at := t.symbols.offset; at < t.symbols.offset+t.symbols.size; at += chunk {
		b := im.read(at, min(chunk, t.symbols.offset+t.symbols.size-at))
		if len(b) < symbolSize || !im.w.spend(len(b)/symbolSize) {
			return
		}
		for ; len(b) >= symbolSize; b = b[symbolSize:] {
			shndx := le.Uint16(b[6:])
			if kind := b[4] & 15; shndx == 0 || kind == symSection || kind == symFile || kind == symTLS {
				continue
			}
			if !visit(le.Uint64(b[8:]), le.Uint64(b[16:]), b[4], shndx, le.Uint32(b)) {
				return
			}
		}
	}
}

func (im *image) symbolName(t table, name uint32) string {
	if uint64(name) >= t.strings.size {
		return ""
	}
	b, _, _ := bytes.Cut(im.read(t.strings.offset+uint64(name), min(maxName, t.strings.size-uint64(name))), []byte{0})
	// The version behind it is the linker's business: read@@GLIBC_2.2.5.
	if i := bytes.IndexByte(b, '@'); i > 0 {
		b = b[:i]
	}
	return string(b)
}

// lookup finds the address of a symbol by its name.
func (im *image) lookup(name string) (addr uint64, found bool) {
	im.each(im.symtab, func(value, _ uint64, _ uint8, _ uint16, n uint32) bool {
		if b := im.read(im.symtab.strings.offset+uint64(n), uint64(len(name)+1)); len(b) == len(name)+1 && string(b[:len(name)]) == name && b[len(name)] == 0 {
			addr, found = value, true
		}
		return !found
	})
	return addr, found
}

// search finds the symbols of the addresses and adds them to out. Of several
// that hold an address, elfutils' choice is taken (dwfl_module_addrsym). code is
// the image with the code: a separate file of symbols has none.
func (im *image) search(t table, code *image, addrs []uint64, out map[uint64]symbol) {
	n := len(addrs)
	s := search{im, addrs, make([]candidate, n), make([]candidate, n), make([]candidate, n), make([]uint64, n)}
	im.each(t, func(value, size uint64, info uint8, shndx uint16, name uint32) bool {
		if name != 0 {
			s.offer(candidate{value, size, info >> 4, name, true}, shndx)
		}
		return true
	})
	var label candidate
	end := uint64(0)
	for i, a := range addrs {
		if l := s.label[i]; l.found {
			label = l
		}
		end = max(end, s.ends[i])
		best := s.global[i]
		if !best.found {
			best = s.local[i]
		}
		if !best.found && label.found && label.start >= end && code.sameSection(label.start, a) {
			best = label
		}
		if best.found {
			if name := im.symbolName(t, best.name); name != "" {
				out[a] = symbol{name, best.start}
			}
		}
	}
}

func rank(binding uint8) int {
	switch binding {
	case bindGlobal:
		return 3
	case bindWeak:
		return 2
	case bindLocal:
		return 1
	}
	return 0
}

// offer gives a symbol to all addresses that it could hold.
func (s *search) offer(c candidate, shndx uint16) {
	i, _ := slices.BinarySearch(s.addrs, c.start)
	if i == len(s.addrs) {
		return
	}
	if c.size == 0 {
		const reserved = 0xff00 // absolute and the like
		if l := &s.label[i]; shndx < reserved && (!l.found || l.start < c.start || l.start == c.start && rank(l.binding) < rank(c.binding)) {
			*l = c
		}
		return
	}
	list := s.global
	if c.binding == bindLocal {
		list = s.local
	}
	for ; i < len(s.addrs) && s.addrs[i]-c.start < c.size; i++ {
		if better(c, list[i]) {
			list[i] = c
		}
		if !s.w.spend(1) {
			return
		}
	}
	if i < len(s.addrs) {
		s.ends[i] = max(s.ends[i], c.start+c.size)
	}
}

// better says whether a takes the place of b, which came before it.
func better(a, b candidate) bool {
	switch {
	case !b.found, b.start < a.start, rank(b.binding) < rank(a.binding):
		return true
	case b.start == a.start && b.size > a.size:
		return rank(b.binding) <= rank(a.binding)
	}
	return false
}

// sameSection keeps a label of one section from naming code of another; without
// sections, of one segment.
func (im *image) sameSection(a, b uint64) bool {
	if t := im.text; t.size > 0 && a >= t.addr && a-t.addr < t.size {
		return b >= t.addr && b-t.addr < t.size
	}
	for _, s := range im.segments {
		if a >= s.addr && a-s.addr < s.size {
			return b >= s.addr && b-s.addr < s.size
		}
	}
	return false
}
