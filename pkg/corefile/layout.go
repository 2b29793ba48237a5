// Package corefile writes and reads the ELF core files of 64-bit little-endian
// Linux machines: headers, notes, and where the memory lies. It opens nothing
// and copies no memory; that is for those who have it.
//
// Source: elf(5), core(5), fs/binfmt_elf.c and include/linux/elfcore.h of
// Linux 6.12, and what gdb 13 and elfutils read.
package corefile

import (
	"encoding/binary"
	"errors"
)

// Machines (e_machine) whose register notes are known to the callers.
const (
	MachineX8664   = 62
	MachineAArch64 = 183
)

// Permissions of a segment.
const (
	Execute = 1 << iota
	Write
	Read
)

// ELF words used here.
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64

	classELF64 = 2
	littleEnd  = 1
	typeCore   = 4

	programLoad = 1
	programNote = 4

	// More program headers than e_phnum can tell: their number is in the
	// sh_info of the first section header (elf(5), PN_XNUM).
	manyPrograms = 0xffff
)

var le = binary.LittleEndian

// Segment is a mapping of the process (PT_LOAD).
type Segment struct {
	Address  uint64
	MemSize  uint64 // bytes in the process
	FileSize uint64 // of these kept in the core, from the start; 0: none
	Offset   uint64 // where in the core; set by Lay and Parse
	Flags    uint32 // Read, Write, Execute
}

// Lay arranges a core: headers, notes, then the kept part of each segment at a
// multiple of align (the page size). It sets Offset in segments and returns the
// bytes that go to the start of the file, and the size of the whole file. What is
// not written behind the head reads as zero.
func Lay(machine uint16, notes []byte, segments []Segment, align uint64) (head []byte, size uint64, err error) {
	at := headSize(notes, segments)
	for i := range segments {
		s := &segments[i]
		if s.FileSize > s.MemSize {
			return nil, 0, errors.New("core: a segment is larger in the file than in memory")
		}
		at = (at + align - 1) / align * align
		s.Offset = at
		at += s.FileSize
		if at < s.Offset || at > 1<<62 {
			return nil, 0, errors.New("core: segments exceed the size of a file")
		}
	}
	return Head(machine, notes, segments, align), at, nil
}

// headSize is the size of headers and notes.
func headSize(notes []byte, segments []Segment) uint64 {
	programs := uint64(len(segments)) + 1
	size := headerSize + programs*programSize + uint64(len(notes))
	if programs >= manyPrograms {
		size += sectionSize
	}
	return size
}

// Head is what goes to the start of a core whose segments have their Offset.
// The caller sees to it that none of them begins before its end.
func Head(machine uint16, notes []byte, segments []Segment, align uint64) []byte {
	programs := uint64(len(segments)) + 1
	notesAt := headerSize + programs*programSize
	sectionAt := uint64(0)
	if programs >= manyPrograms {
		sectionAt = notesAt
		notesAt += sectionSize
	}
	head := make([]byte, 0, headSize(notes, segments))
	head = appendHeader(head, machine, programs, sectionAt)
	head = appendProgram(head, programNote, Segment{Offset: notesAt, FileSize: uint64(len(notes))}, 4)
	for _, s := range segments {
		head = appendProgram(head, programLoad, s, align)
	}
	if sectionAt != 0 {
		section := make([]byte, sectionSize)
		le.PutUint64(section[32:], 1)                // sh_size: one section header
		le.PutUint32(section[44:], uint32(programs)) // sh_info
		head = append(head, section...)
	}
	return append(head, notes...)
}

func appendHeader(b []byte, machine uint16, programs, sectionAt uint64) []byte {
	b = append(b, 0x7f, 'E', 'L', 'F', classELF64, littleEnd, 1)
	b = append(b, make([]byte, 9)...)
	b = le.AppendUint16(b, typeCore)
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1) // e_version
	b = le.AppendUint64(b, 0) // e_entry
	b = le.AppendUint64(b, headerSize)
	b = le.AppendUint64(b, sectionAt)
	b = le.AppendUint32(b, 0) // e_flags
	b = le.AppendUint16(b, headerSize)
	b = le.AppendUint16(b, programSize)
	b = le.AppendUint16(b, uint16(min(programs, manyPrograms)))
	sections := uint16(0)
	if sectionAt != 0 {
		sections = 1
	}
	b = le.AppendUint16(b, sectionSize)
	b = le.AppendUint16(b, sections)
	return le.AppendUint16(b, 0) // e_shstrndx
}

func appendProgram(b []byte, typ uint32, s Segment, align uint64) []byte {
	b = le.AppendUint32(b, typ)
	b = le.AppendUint32(b, s.Flags)
	b = le.AppendUint64(b, s.Offset)
	b = le.AppendUint64(b, s.Address)
	b = le.AppendUint64(b, 0) // p_paddr
	b = le.AppendUint64(b, s.FileSize)
	b = le.AppendUint64(b, s.MemSize)
	return le.AppendUint64(b, align)
}
