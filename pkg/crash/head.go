package crash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
)

// Sizes and offsets in a 64-bit ELF file, elf(5).
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64

	phOff   = 32
	shOff   = 40
	phNum   = 56
	shInfo  = 44
	pOffset = 8
	pFilesz = 32

	// manyPrograms stands for more program headers than phNum can tell; their
	// number is in a section header at the end of the core, which comes last.
	manyPrograms = 0xffff
)

// maxHead bounds headers and notes: the registers of 32768 threads take some 200 MB
// with AMX, and the names of the mapped files are 4 MiB at most.
const maxHead = 512 << 20

var le = binary.LittleEndian

// errNotParsed says that a core is of a kind that is copied unseen: of a 32-bit
// program.
var errNotParsed = errors.New("not a core of a 64-bit program")

// head is the first part of a core: what precedes its memory.
type head struct {
	bytes   []byte // read so far, whatever it is
	core    *corefile.Core
	section []byte // the section header of a core with very many segments
	at      int64  // where it goes
	size    int64  // of the whole core
}

// readHead reads the headers and the notes of the core that r brings, and not
// one byte more. After an error that wraps errNotParsed, what was read stands in
// bytes; the rest follows in r.
func readHead(r io.Reader) (*head, error) {
	h := &head{}
	if err := h.read(r, headerSize); err != nil {
		return h, err
	}
	b := h.bytes
	if string(b[:6]) != "\x7fELF\x02\x01" || le.Uint64(b[phOff:]) != headerSize {
		return h, errNotParsed
	}
	// The first program header is that of the notes, which the kernel puts
	// right behind the last.
	if err := h.read(r, programSize); err != nil {
		return h, err
	}
	notes, size := le.Uint64(h.bytes[headerSize+pOffset:]), le.Uint64(h.bytes[headerSize+pFilesz:])
	count := uint64(le.Uint16(b[phNum:]))
	if count == manyPrograms {
		count = (notes - headerSize) / programSize
	}
	if notes > maxHead || size > maxHead || notes != headerSize+count*programSize || notes+size > maxHead {
		return h, fmt.Errorf("core: notes of %d bytes at offset %d, behind %d program headers: %w", size, notes, count, errNotParsed)
	}
	if err := h.read(r, int(notes+size)-len(h.bytes)); err != nil {
		return h, err
	}
	return h, h.parse(count)
}

func (h *head) read(r io.Reader, n int) error {
	// In pieces: memory is taken only for bytes that came.
	const piece = 1 << 20
	for n > 0 {
		old := len(h.bytes)
		h.bytes = append(h.bytes, make([]byte, min(n, piece))...)
		got, err := io.ReadFull(r, h.bytes[old:])
		h.bytes = h.bytes[:old+got]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("core: %d bytes came: %w", len(h.bytes), err)
		}
		n -= got
	}
	return nil
}

func (h *head) parse(count uint64) error {
	var r io.ReaderAt = bytes.NewReader(h.bytes)
	if le.Uint16(h.bytes[phNum:]) == manyPrograms {
		h.at = int64(le.Uint64(h.bytes[shOff:]))
		h.section = make([]byte, sectionSize)
		le.PutUint64(h.section[32:], 1) // sh_size
		le.PutUint32(h.section[shInfo:], uint32(count))
		r = spliced{r, h.section, h.at}
	}
	core, err := corefile.Parse(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotParsed, err)
	}
	h.core = core
	h.size = max(int64(len(h.bytes)), h.at+int64(len(h.section)))
	for _, s := range core.Segments {
		end := s.Offset + s.FileSize
		if end < s.Offset || end > 1<<62 || s.FileSize > 0 && s.Offset < uint64(len(h.bytes)) {
			return fmt.Errorf("core: segment at %#x: offset %#x, %d bytes: %w", s.Address, s.Offset, s.FileSize, errNotParsed)
		}
		h.size = max(h.size, int64(end))
	}
	return nil
}

// spliced is a file of which one piece, at an offset, is known already.
type spliced struct {
	io.ReaderAt
	piece []byte
	at    int64
}

func (s spliced) ReadAt(p []byte, off int64) (int, error) {
	if off == s.at && len(p) == len(s.piece) {
		return copy(p, s.piece), nil
	}
	return s.ReaderAt.ReadAt(p, off)
}
