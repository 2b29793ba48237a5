package capture

import (
	"bytes"
	"encoding/binary"
	"io"

	"vigil/pkg/corefile"
)

var le = binary.LittleEndian

// ELF and <link.h>, of 64-bit machines.
const (
	programHeader = 56
	ptDynamic     = 2
	ptPhdr        = 6
	dtDebug       = 21

	debugSize = 48 // struct r_debug_extended
	entrySize = 40 // what is public of struct link_map

	maxProgramHeaders = 128
	maxDynamic        = 64 << 10
	maxEntries        = 4096
	maxPath           = 4096
)

// linkMap visits the memory in which the dynamic loader lists what it has
// loaded: the dynamic section of the program, which points to struct r_debug,
// which points to the first struct link_map, and their names. A static program
// has none. The list may be damaged: it is followed for a bounded number of steps.
func linkMap(mem io.ReaderAt, auxv []byte, visit func(addr, size uint64)) {
	r := reader{mem}
	table, _ := corefile.AuxvValue(auxv, corefile.ATPhdr)
	count, _ := corefile.AuxvValue(auxv, corefile.ATPhnum)
	var dynamic, size, own uint64
	found := false
	for i := range min(count, maxProgramHeaders) {
		p := r.bytes(table+i*programHeader, programHeader)
		if p == nil {
			return
		}
		switch le.Uint32(p) {
		case ptDynamic:
			dynamic, size, found = le.Uint64(p[16:]), le.Uint64(p[40:]), true
		case ptPhdr:
			own = table - le.Uint64(p[16:]) // where it is against where it was linked
		}
	}
	if !found || size == 0 || size > maxDynamic {
		return
	}
	dynamic += own
	d := r.bytes(dynamic, size)
	if d == nil {
		return
	}
	visit(dynamic, size)
	for ; len(d) >= 16; d = d[16:] {
		if le.Uint64(d) == dtDebug {
			r.follow(le.Uint64(d[8:]), visit)
			return
		}
	}
}

type reader struct{ mem io.ReaderAt }

// bytes reads all of n bytes, or gives nil.
func (r reader) bytes(addr, n uint64) []byte {
	b := make([]byte, n)
	if addr>>63 != 0 {
		return nil
	}
	if k, _ := r.mem.ReadAt(b, int64(addr)); k < len(b) {
		return nil
	}
	return b
}

func (r reader) follow(debug uint64, visit func(addr, size uint64)) {
	b := r.bytes(debug, debugSize)
	if debug == 0 || b == nil {
		return
	}
	visit(debug, debugSize)
	next := le.Uint64(b[8:]) // r_map
	for range maxEntries {
		e := r.bytes(next, entrySize)
		if next == 0 || e == nil {
			return
		}
		visit(next, entrySize)
		if name := le.Uint64(e[8:]); name>>63 == 0 { // l_name
			text := make([]byte, maxPath)
			k, _ := r.mem.ReadAt(text, int64(name))
			if end := bytes.IndexByte(text[:k], 0); end >= 0 {
				visit(name, uint64(end+1))
			}
		}
		next = le.Uint64(e[24:]) // l_next
	}
}
