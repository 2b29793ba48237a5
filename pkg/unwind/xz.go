package unwind

// The section .gnu_debugdata is an ELF file with nothing but symbols, compressed
// by xz(1). What xz makes with its defaults is read here: one filter, LZMA2. Its
// checksums are not looked at: a wrong byte would give a wrong name at worst.
//
// Source: "The .xz File Format" 1.1.0, and the LZMA specification of the LZMA SDK.

const (
	maxPacked   = 8 << 20
	maxUnpacked = 32 << 20
	maxRatio    = 64 // symbols shrink to a tenth or so

	filterLZMA2 = 0x21
)

// checkSizes are the bytes behind a block, by the type of the check.
var checkSizes = [16]uint64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// unxz unpacks a stream; false if it is not one, or larger than it should be.
func unxz(b []byte, w *window) ([]byte, bool) {
	c := cursor{b: b}
	if string(c.take(6)) != "\xfd7zXZ\x00" || c.byte() != 0 {
		return nil, false
	}
	check := checkSizes[c.byte()&15]
	c.skip(4)
	d := &lzma2{in: &c, limit: min(maxUnpacked, maxRatio*len(b)+1<<16), window: w}
	for !c.bad {
		size := uint64(c.byte())
		if size == 0 { // the index
			return d.out, true
		}
		h := cursor{b: c.take((size+1)*4 - 1)}
		flags := h.byte()
		for _, present := range []byte{0x40, 0x80} { // both sizes
			if flags&present != 0 {
				h.uleb()
			}
		}
		if flags&3 != 0 || h.uleb() != filterLZMA2 || h.bad {
			return nil, false
		}
		before := len(c.b)
		if !d.run() {
			return nil, false
		}
		used := uint64(before - len(c.b))
		c.skip(-used&3 + check)
	}
	return nil, false
}

// lzma2 unpacks chunks, which share what was unpacked before as a dictionary.
type lzma2 struct {
	in     *cursor
	out    []byte
	start  int // of the dictionary in out
	limit  int
	window *window
	lzma
}

// run unpacks chunks up to the end of a block.
func (d *lzma2) run() bool {
	for !d.in.bad {
		control := d.in.byte()
		switch {
		case control == 0:
			return !d.in.bad
		case control >= 0x80:
			if !d.chunk(control) {
				return false
			}
		case control <= 2: // not compressed
			if control == 1 {
				d.start = len(d.out)
			}
			b := d.in.take(uint64(d.in.byte())<<8 + uint64(d.in.byte()) + 1)
			if len(d.out)+len(b) > d.limit {
				return false
			}
			d.out = append(d.out, b...)
		default:
			return false
		}
	}
	return false
}

// chunk unpacks one that is compressed. What its first byte says to forget is
// forgotten: the state, the properties, the dictionary.
func (d *lzma2) chunk(control byte) bool {
	size := int(control&0x1f)<<16 + int(d.in.byte())<<8 + int(d.in.byte()) + 1
	packed := uint64(d.in.byte())<<8 + uint64(d.in.byte()) + 1
	reset := control >> 5 & 3
	if reset == 3 {
		d.start = len(d.out)
	}
	if reset >= 2 && !d.setProperties(d.in.byte()) {
		return false
	}
	if reset >= 1 {
		d.reset()
	}
	b := d.in.take(packed)
	if b == nil || d.literal == nil || len(d.out)+size > d.limit || !d.window.spend(size/8) {
		return false
	}
	d.code.begin(b)
	return d.unpack(len(d.out)+size) && !d.code.bad()
}

// decoder is a range decoder.
type decoder struct {
	b           []byte
	size, value uint32
	over        int // bytes read behind the end
}

func (r *decoder) begin(b []byte) {
	*r = decoder{b: b, size: 0xffffffff}
	for range 5 {
		r.value = r.value<<8 | uint32(r.next())
	}
}

func (r *decoder) bad() bool { return r.over > 0 }

func (r *decoder) next() byte {
	if len(r.b) == 0 {
		r.over++
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *decoder) normalize() {
	if r.size < 1<<24 {
		r.size <<= 8
		r.value = r.value<<8 | uint32(r.next())
	}
}

// bit reads one of a probability, which it moves.
func (r *decoder) bit(p *uint16) int {
	r.normalize()
	bound := r.size >> 11 * uint32(*p)
	if r.value < bound {
		r.size = bound
		*p += (1<<11 - *p) >> 5
		return 0
	}
	r.value -= bound
	r.size -= bound
	*p -= *p >> 5
	return 1
}

// direct reads n bits that are equally probable.
func (r *decoder) direct(n int) (v int) {
	for range n {
		r.normalize()
		r.size >>= 1
		one := 0
		if r.value >= r.size {
			r.value -= r.size
			one = 1
		}
		v = v<<1 | one
	}
	return v
}

// tree reads n bits, the highest first.
func (r *decoder) tree(p []uint16, n int) int {
	m := 1
	for range n {
		m = m<<1 | r.bit(&p[m])
	}
	return m - 1<<n
}

// reverse reads n bits, the lowest first.
func (r *decoder) reverse(p []uint16, n int) (v int) {
	m := 1
	for i := range n {
		b := r.bit(&p[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}
