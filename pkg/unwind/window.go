package unwind

import "io"

const (
	blockSize = 16 << 10
	maxBlocks = 1024 // 16 MiB
)

// window reads files through blocks that it keeps, so that a search by halves
// in a table on disk costs few system calls and bounded memory. It serves all
// files of a space.
type window struct {
	blocks map[place][]byte
	last   place
	kept   []byte // blocks[last]
	steps  int    // that may still be taken
}

// maxSteps bounds the work that files can make: a second or two. No real
// process comes near.
const maxSteps = 1 << 26

// spend takes steps; false when all are used up.
func (w *window) spend(n int) bool {
	w.steps -= n
	return w.steps > 0
}

type place struct {
	file  *file
	block int64
}

// file is a file seen through a window.
type file struct {
	w    *window
	r    io.ReaderAt
	size uint64
}

func newWindow() *window { return &window{blocks: map[place][]byte{}, steps: maxSteps} }

// block returns the bytes of one block that exist.
func (f *file) block(n int64) []byte {
	p := place{f, n}
	if p == f.w.last {
		return f.w.kept
	}
	b, ok := f.w.blocks[p]
	if !ok {
		if len(f.w.blocks) >= maxBlocks {
			clear(f.w.blocks)
		}
		b = make([]byte, blockSize)
		k := 0
		for k < len(b) {
			i, err := f.r.ReadAt(b[k:], n*blockSize+int64(k))
			k += max(i, 0)
			if err != nil || i <= 0 {
				break
			}
		}
		b = b[:k]
		f.w.blocks[p] = b
	}
	f.w.last, f.w.kept = p, b
	return b
}

// read returns up to n bytes from an offset on; fewer where the file ends or
// cannot be read. They are not to be changed, and valid for good.
func (f *file) read(at, n uint64) []byte {
	if at >= f.size {
		return nil
	}
	n = min(n, f.size-at)
	b := f.block(int64(at / blockSize))
	off := at % blockSize
	if off >= uint64(len(b)) {
		return nil
	}
	if n <= uint64(len(b))-off {
		return b[off : off+n : off+n]
	}
	out := append(make([]byte, 0, n), b[off:]...)
	for len(b) == blockSize && uint64(len(out)) < n {
		at += blockSize
		b = f.block(int64(at / blockSize))
		out = append(out, b[:min(uint64(len(b)), n-uint64(len(out)))]...)
	}
	return out
}

// cursor takes numbers out of bytes. Behind their end it gives zeroes and is
// bad.
type cursor struct {
	b    []byte
	addr uint64 // of b[0]
	bad  bool
}

func (c *cursor) skip(n uint64) {
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return
	}
	c.b = c.b[n:]
	c.addr += n
}

// take returns the next n bytes; nil, and bad, if there are fewer.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	b := c.b[:n]
	c.skip(n)
	return b
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

// fixed reads a number of n ≤ 8 bytes.
func (c *cursor) fixed(n uint64) (v uint64) {
	for i, x := range c.take(n) {
		v |= uint64(x) << (8 * i)
	}
	return v
}

// signed reads a number of n ≤ 8 bytes and extends its sign.
func (c *cursor) signed(n uint64) uint64 {
	shift := 64 - 8*n
	return uint64(int64(c.fixed(n)<<shift) >> shift)
}

func (c *cursor) uleb() (v uint64) {
	for shift := 0; ; shift += 7 {
		x := c.byte()
		if shift < 64 {
			v |= uint64(x&0x7f) << shift
		}
		if x&0x80 == 0 {
			return v
		}
	}
}

func (c *cursor) sleb() int64 {
	v := int64(0)
	for shift := 0; ; shift += 7 {
		x := c.byte()
		if shift < 64 {
			v |= int64(x&0x7f) << shift
		}
		if x&0x80 == 0 {
			if shift+7 < 64 && x&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// Pointer encodings (DW_EH_PE): the low half is the form, the next three bits
// what it is relative to.
const (
	peOmit    = 0xff
	peRelPC   = 0x10
	peRelData = 0x30
)

// pointer reads an encoded address; data is what DW_EH_PE_datarel means.
func (c *cursor) pointer(encoding byte, data uint64) (v uint64) {
	base := uint64(0)
	switch encoding & 0x70 {
	case 0:
	case peRelPC:
		base = c.addr
	case peRelData:
		base = data
	default:
		c.bad = true
	}
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = c.fixed(8)
	case 0x01:
		v = c.uleb()
	case 0x02:
		v = c.fixed(2)
	case 0x03:
		v = c.fixed(4)
	case 0x09:
		v = uint64(c.sleb())
	case 0x0a:
		v = c.signed(2)
	case 0x0b:
		v = c.signed(4)
	default:
		c.bad = true
	}
	return base + v
}
