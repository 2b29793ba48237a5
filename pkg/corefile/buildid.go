package corefile

import "io"

// Limits of what is believed of a mapped ELF file.
const (
	maxFilePrograms = 64
	maxFileNotes    = 1 << 16

	ntGNUBuildID = 3
	maxBuildID   = 64 // 20 as a rule
)

// BuildID finds the NT_GNU_BUILD_ID of a 64-bit ELF file that is mapped as it
// lies in its file, from its first byte on: its notes are as a rule behind the
// program headers. It is nil where there is none, or it cannot be read. It
// believes nothing: what it takes is bounded.
//
// Source: elf(5), ld(1) --build-id.
func BuildID(r io.ReaderAt) []byte {
	var h [headerSize]byte
	if n, _ := r.ReadAt(h[:], 0); n < len(h) || string(h[:4]) != "\x7fELF" || h[4] != classELF64 || h[5] != littleEnd || le.Uint16(h[54:]) != programSize {
		return nil
	}
	at, count := le.Uint64(h[32:]), min(int(le.Uint16(h[56:])), maxFilePrograms)
	var p [programSize]byte
	for i := range count {
		off := at + uint64(i)*programSize
		if off > 1<<40 {
			return nil
		}
		if n, _ := r.ReadAt(p[:], int64(off)); n < len(p) {
			return nil
		}
		off, size := le.Uint64(p[8:]), le.Uint64(p[32:])
		if le.Uint32(p[:]) != programNote || off > 1<<40 || size > maxFileNotes {
			continue
		}
		b := make([]byte, size)
		n, _ := r.ReadAt(b, int64(off))
		if id := findBuildID(b[:n]); id != nil {
			return id
		}
	}
	return nil
}

func findBuildID(b []byte) []byte {
	for len(b) >= noteHeader {
		name, desc, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		b = b[noteHeader:]
		if pad4(name)+desc > uint64(len(b)) {
			return nil
		}
		if typ == ntGNUBuildID && string(b[:name]) == "GNU\x00" && desc > 0 && desc <= maxBuildID {
			return b[pad4(name):][:desc:desc]
		}
		b = b[min(pad4(name)+pad4(desc), uint64(len(b))):]
	}
	return nil
}
