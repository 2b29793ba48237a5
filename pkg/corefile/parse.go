package corefile

import (
	"errors"
	"io"

	"vigil/pkg/fmt"
)

// Limits of what is believed of a core file.
const (
	maxPrograms = 1 << 22 // vm.max_map_count can be raised; 65530 by default
	maxNotes    = 16      // segments of notes; the kernel writes one
	maxName     = 256
	maxDesc     = 256 << 20
)

// ErrNotCore is reported (errors.Is) for a file that is not an ELF core of a
// 64-bit little-endian machine.
var ErrNotCore = errors.New("not a 64-bit ELF core")

// Core is an opened core file. It is safe for concurrent use if its reader is.
type Core struct {
	Machine  uint16
	Segments []Segment

	r     io.ReaderAt
	notes []Segment
}

// Parse reads the headers of a core. It believes nothing that the file does
// not hold: the memory it takes is bounded by the size of the file.
func Parse(r io.ReaderAt) (*Core, error) {
	var h [headerSize]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		if err == io.EOF {
			return nil, ErrNotCore
		}
		return nil, fmt.Errorf("core: header: %w", err)
	}
	if string(h[:2]) == "\x1f\x8b" {
		return nil, fmt.Errorf("%w: compressed: gunzip it first", ErrNotCore)
	}
	if string(h[:4]) != "\x7fELF" || h[4] != classELF64 || h[5] != littleEnd || le.Uint16(h[16:]) != typeCore || le.Uint16(h[54:]) != programSize {
		return nil, ErrNotCore
	}
	c := &Core{Machine: le.Uint16(h[18:]), r: r}
	count := uint64(le.Uint16(h[56:]))
	if count == manyPrograms {
		var section [sectionSize]byte
		at := le.Uint64(h[40:])
		if at < headerSize {
			return nil, fmt.Errorf("core: section header: offset %#x is within the header", at)
		}
		if err := c.read(section[:], at, "section header"); err != nil {
			return nil, err
		}
		count = uint64(le.Uint32(section[44:]))
	}
	if count > maxPrograms {
		return nil, fmt.Errorf("core: %d program headers: too many", count)
	}
	at := le.Uint64(h[32:])
	// In pieces, for the count may be a lie.
	var buf [512 * programSize]byte
	for count > 0 {
		n := min(count, 512)
		b := buf[:n*programSize]
		if err := c.read(b, at, "program headers"); err != nil {
			return nil, err
		}
		for ; len(b) > 0; b = b[programSize:] {
			c.add(b)
		}
		if len(c.notes) > maxNotes {
			return nil, errors.New("core: too many segments of notes")
		}
		at += n * programSize
		count -= n
	}
	return c, nil
}

func (c *Core) add(b []byte) {
	s := Segment{
		Flags:    le.Uint32(b[4:]),
		Offset:   le.Uint64(b[8:]),
		Address:  le.Uint64(b[16:]),
		FileSize: le.Uint64(b[32:]),
		MemSize:  le.Uint64(b[40:]),
	}
	switch le.Uint32(b) {
	case programLoad:
		c.Segments = append(c.Segments, s)
	case programNote:
		c.notes = append(c.notes, s)
	}
}

func (c *Core) read(b []byte, at uint64, what string) error {
	if at > 1<<62 {
		return fmt.Errorf("core: %s: offset %#x is beyond any file", what, at)
	}
	n, err := c.r.ReadAt(b, int64(at))
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("core: %s: offset %#x: %w", what, at, err)
}

// Notes visits the notes in their order. Desc is valid until visit returns. It
// stops at the first error of visit and returns it.
func (c *Core) Notes(visit func(Note) error) error {
	var buf []byte
	for _, s := range c.notes {
		at, left := s.Offset, s.FileSize
		for left > 0 {
			n, size, err := c.note(at, left, &buf)
			if err != nil {
				return err
			}
			if err := visit(n); err != nil {
				return err
			}
			at += size
			left -= size
		}
	}
	return nil
}

// note reads the note at an offset with left bytes to the end of its segment.
func (c *Core) note(at, left uint64, buf *[]byte) (n Note, size uint64, err error) {
	var h [noteHeader]byte
	if left < noteHeader {
		return n, 0, fmt.Errorf("core: note: offset %#x: %d bytes are left", at, left)
	}
	if err := c.read(h[:], at, "note"); err != nil {
		return n, 0, err
	}
	name, desc := uint64(le.Uint32(h[0:])), uint64(le.Uint32(h[4:]))
	n.Type = le.Uint32(h[8:])
	body := pad4(name) + desc
	size = noteHeader + pad4(name) + pad4(desc)
	// The last note may lack its padding.
	if name > maxName || desc > maxDesc || noteHeader+body > left {
		return n, 0, fmt.Errorf("core: note: offset %#x: sizes %d and %d do not fit", at, name, desc)
	}
	b, err := c.grow((*buf)[:0], body, at+noteHeader)
	if err != nil {
		return n, 0, err
	}
	*buf = b
	n.Desc = b[pad4(name):]
	for name > 0 && b[name-1] == 0 {
		name--
	}
	n.Name = string(b[:name])
	return n, min(size, left), nil
}

// grow reads size bytes behind b in pieces: memory is taken only for bytes that
// are there.
func (c *Core) grow(b []byte, size, at uint64) ([]byte, error) {
	const piece = 1 << 16
	for size > 0 {
		n := min(size, piece)
		old := len(b)
		b = append(b, make([]byte, n)...)
		if err := c.read(b[old:], at, "note"); err != nil {
			return b, err
		}
		at += n
		size -= n
	}
	return b, nil
}
