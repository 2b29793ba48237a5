package unwind

import (
	"bytes"
	"io"
)

// fakeFile is a file of the simplest form: one segment, loaded where it lies in
// the file.
type fakeFile struct {
	machine  uint16
	text     []byte
	ehFrame  []byte // one FDE per function is enough for these tests
	header   []byte // .eh_frame_hdr
	goTable  []byte
	buildID  []byte
	debug    []byte // .gnu_debugdata
	dynamic  bool   // the symbols are in .dynsym, found without sections
	symbols  []fakeSymbol
	noTables bool // no section headers
}

type fakeSymbol struct {
	name        string
	value, size uint64
	info        byte // binding<<4 | type
}

const textAt = 0x200

// part is one section of it.
type part struct {
	name       string
	kind       uint32
	data       []byte
	at, linked uint64
}

// bytes lays the file out: headers, text at textAt, everything else behind it.
func (f fakeFile) bytes() []byte {
	b := append(make([]byte, textAt), f.text...)
	parts := f.parts()
	for _, p := range parts {
		if p.at == 0 {
			b = append(b, make([]byte, -len(b)&7)...)
			p.at = uint64(len(b))
			b = append(b, p.data...)
		}
	}
	b = append(b, make([]byte, -len(b)&7)...)
	dynamicAt := uint64(len(b))
	if f.dynamic {
		b = append(b, words(dtSymtab, parts[5].at, dtStrtab, parts[6].at)...)
	}
	sectionsAt := uint64(len(b))
	b = appendSections(b, parts)

	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], f.machine)
	le.PutUint64(b[32:], headerSize)
	le.PutUint16(b[54:], programSize)
	if !f.noTables {
		le.PutUint64(b[40:], sectionsAt)
		le.PutUint16(b[58:], sectionSize)
		le.PutUint16(b[60:], uint16(len(parts)+2))
		le.PutUint16(b[62:], uint16(len(parts)+1))
	}
	programs := 0
	program := func(kind, flags uint32, at, size uint64) {
		if size == 0 {
			return
		}
		p := b[headerSize+programs*programSize:]
		le.PutUint32(p, kind)
		le.PutUint32(p[4:], flags)
		le.PutUint64(p[8:], at)
		le.PutUint64(p[16:], at)
		le.PutUint64(p[32:], size)
		programs++
	}
	program(ptLoad, 5, 0, uint64(len(b)))
	program(ptEHFrame, 4, parts[2].at, uint64(len(f.header)))
	program(ptNote, 4, parts[7].at, uint64(len(parts[7].data)))
	program(ptDynamic, 6, dynamicAt, sectionsAt-dynamicAt)
	le.PutUint16(b[56:], uint16(programs))
	return b
}

func (f fakeFile) parts() []*part {
	strtab, symtab := []byte{0}, make([]byte, symbolSize)
	for _, s := range f.symbols {
		name := uint32(0)
		if s.name != "" {
			name = uint32(len(strtab))
		}
		symtab = le.AppendUint32(symtab, name)
		symtab = append(symtab, s.info, 0, 1, 0)
		symtab = append(symtab, words(s.value, s.size)...)
		strtab = append(append(strtab, s.name...), 0)
	}
	if len(f.symbols) == 0 {
		symtab = nil
	}
	var note []byte
	if f.buildID != nil {
		note = append(note, 4, 0, 0, 0, byte(len(f.buildID)), 0, 0, 0, ntBuildID, 0, 0, 0, 'G', 'N', 'U', 0)
		note = append(note, f.buildID...)
	}
	return []*part{
		{name: ".text", kind: 1, data: f.text, at: textAt},
		{name: ".eh_frame", kind: 1, data: f.ehFrame},
		{name: ".eh_frame_hdr", kind: 1, data: f.header},
		{name: ".gopclntab", kind: 1, data: f.goTable},
		{name: ".gnu_debugdata", kind: 1, data: f.debug},
		{name: ".symtab", kind: shtSymtab, data: symtab, linked: 7},
		{name: ".strtab", kind: 3, data: strtab},
		{name: ".note", kind: 7, data: note},
	}
}

// appendSections appends the section headers, and the names of the sections as
// the last of them.
func appendSections(b []byte, parts []*part) []byte {
	names := []byte{0}
	b = append(b, make([]byte, sectionSize)...)
	for _, p := range parts {
		b = le.AppendUint32(b, uint32(len(names)))
		names = append(append(names, p.name...), 0)
		b = le.AppendUint32(b, p.kind)
		b = append(b, words(0, p.at, p.at, uint64(len(p.data)), p.linked, 0, 0)...)
	}
	b = append(b, words(3<<32, 0, 0, uint64(len(b))+sectionSize, uint64(len(names)), 0, 0, 0)...)
	return append(b, names...)
}

// record makes a CIE (id 0) or FDE of .eh_frame.
func record(id uint32, body []byte) []byte {
	for (len(body)+4)%8 != 4 {
		body = append(body, 0)
	}
	b := le.AppendUint32(nil, uint32(len(body)+4))
	return append(le.AppendUint32(b, id), body...)
}

// frames makes a .eh_frame with one CIE and one FDE, with absolute addresses.
func frames(augmentation string, ra byte, initial []byte, low, size uint64, instructions []byte) []byte {
	body := append([]byte{1}, augmentation...)
	body = append(body, 0, 1, 0x78, ra) // code alignment 1, data alignment -8
	if augmentation != "" {
		body = append(body, 0) // no augmentation data, or an R would be there
	}
	cie := record(0, append(body, initial...))
	body = le.AppendUint64(le.AppendUint64(nil, low), size)
	if augmentation != "" {
		body = append(body, 0)
	}
	b := append(cie, record(uint32(len(cie)+4), append(body, instructions...))...)
	return append(b, 0, 0, 0, 0)
}

// fakeModules has one file for every mapping, and one with symbols.
type fakeModules struct{ file, debug []byte }

func (f fakeModules) Open(Mapping) (io.ReaderAt, int64) {
	if f.file == nil {
		return nil, 0
	}
	return bytes.NewReader(f.file), int64(len(f.file))
}

func (f fakeModules) Debug([]byte) (io.ReaderAt, int64) {
	if f.debug == nil {
		return nil, 0
	}
	return bytes.NewReader(f.debug), int64(len(f.debug))
}
