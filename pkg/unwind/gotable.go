package unwind

import "bytes"

// What Go 1.18 and newer write in front of a .gopclntab (internal/abi); tables of
// older ones are not read.
const (
	go118 = 0xfffffff0
	go120 = 0xfffffff1
)

// Bits of _func.flag.
const (
	flagTop     = 1 << iota // the outermost of its stack
	flagSPWrite             // moves to another stack
)

const (
	maxGoName = 1024
	maxGoPCSP = 64 << 10 // bytes of one table of frame sizes
)

// goTable is the table from which the runtime of a Go program unwinds its own
// stacks. There is no call frame information in such a program once it is
// stripped.
type goTable struct {
	*image
	text             uint64 // link-time address of runtime.text
	functions        uint64 // their number
	quantum          uint64
	names, pcs, pcln uint64 // offsets in the file
	flagAt           uint64 // of the flags in a _func
}

// goFunc is one function.
type goFunc struct {
	entry      uint64
	name, pcsp uint32
	flags      byte
}

// openGo reads the header of the table, if the image has one.
func (im *image) openGo() *goTable {
	at := im.gopclntab.offset
	c := cursor{b: im.read(at, 72)}
	magic := c.fixed(4)
	c.skip(2)
	g := &goTable{image: im, quantum: c.fixed(1), flagAt: 41}
	if size := c.fixed(1); im.gopclntab.size == 0 || size != 8 || magic != go118 && magic != go120 {
		return nil
	}
	if magic == go118 {
		g.flagAt = 37 // without startLine
	}
	g.functions = c.fixed(8)
	c.skip(8)
	g.text = c.fixed(8)
	g.names = at + c.fixed(8)
	c.skip(16)
	g.pcs = at + c.fixed(8)
	g.pcln = at + c.fixed(8)
	if c.bad || g.functions == 0 || g.functions > im.gopclntab.size/8 {
		return nil
	}
	// Programs that are relocated, and all of Go 1.26, hold no address there.
	if _, ok := im.offset(g.text); !ok || g.text == 0 {
		g.text = im.text.addr
		if im.dynamic.size > 0 { // a C linker may have put other code in front
			if addr, ok := im.lookup("runtime.text"); ok {
				g.text = addr
			}
		}
	}
	return g
}

// find returns the function at a link-time address.
func (g *goTable) find(addr uint64) (f goFunc, ok bool) {
	row := func(i uint64) (entry, function uint64) {
		c := cursor{b: g.read(g.pcln+8*i, 8)}
		return g.text + c.fixed(4), c.fixed(4)
	}
	if end, _ := row(g.functions); addr < g.text || addr >= end {
		return f, false
	}
	left, right := uint64(0), g.functions
	for left < right {
		mid := (left + right) / 2
		if entry, _ := row(mid); entry <= addr {
			left = mid + 1
		} else {
			right = mid
		}
	}
	if left == 0 {
		return f, false
	}
	entry, at := row(left - 1)
	c := cursor{b: g.read(g.pcln+at, 44)}
	c.skip(4)
	f.entry, f.name = entry, uint32(c.fixed(4))
	c.skip(8)
	f.pcsp = uint32(c.fixed(4))
	c.skip(g.flagAt - 20)
	f.flags = c.byte()
	return f, !c.bad
}

func (g *goTable) funcName(f goFunc) string {
	name, _, _ := bytes.Cut(g.read(g.names+uint64(f.name), maxGoName), []byte{0})
	return string(name)
}

// plan returns how to leave a function: what its frame holds is CFA-SP bytes.
func (g *goTable) plan(f goFunc, addr uint64, m *machine) *plan {
	// A signal handler is the outermost of its own stack, but the kernel called it,
	// and what was interrupted can be found.
	if f.flags&flagTop != 0 && g.funcName(f) != "runtime.sigtramp" {
		return &plan{end: Complete}
	}
	size, ok := g.frameSize(f, addr)
	if !ok {
		return nil
	}
	p := &plan{ra: uint8(m.ra), raRule: ruleOffset, cfa: rule{kind: ruleRegister, reg: uint8(m.sp), off: size}}
	if f.flags&flagSPWrite != 0 {
		p.end = Switch
	}
	ra := rule{kind: ruleOffset, column: uint8(m.ra)}
	fp := rule{kind: ruleOffset, column: uint8(m.fp)}
	switch {
	case m.link < 0: // pushed by the call, then the frame pointer
		p.cfa.off += 8
		ra.off, fp.off = -8, -16
	case size == 0: // nothing is saved yet
		p.raRule = ruleSame
		return p
	default: // the lowest word, with the frame pointer below it
		ra.off, fp.off = -size, -size-8
	}
	p.rules = append(p.rules, ra)
	if size > 0 {
		p.rules = append(p.rules, fp)
	}
	return p
}

// frameSize looks up the distance from the stack pointer to where it was on
// entry (without a pushed return address). The table holds pairs of
// differences, of the size and of the place up to which it is valid.
func (g *goTable) frameSize(f goFunc, addr uint64) (int64, bool) {
	c := cursor{b: g.read(g.pcs+uint64(f.pcsp), maxGoPCSP)}
	size, pc := int64(-1), f.entry
	for first := true; g.w.spend(1); first = false {
		delta := c.uleb()
		if c.bad || delta == 0 && !first {
			break
		}
		size += int64(delta>>1) ^ -int64(delta&1)
		pc += c.uleb() * g.quantum
		if addr < pc {
			return size, size >= 0 && size < 1<<32
		}
	}
	return 0, false
}
