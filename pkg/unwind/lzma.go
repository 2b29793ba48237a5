package unwind

const (
	states    = 12
	minLength = 2
)

// lengths are the probabilities of the lengths of matches.
type lengths struct {
	choice   [2]uint16
	low, mid [16][8]uint16
	high     [256]uint16
}

func (l *lengths) read(r *decoder, position int) int {
	switch {
	case r.bit(&l.choice[0]) == 0:
		return r.tree(l.low[position][:], 3)
	case r.bit(&l.choice[1]) == 0:
		return 8 + r.tree(l.mid[position][:], 3)
	}
	return 16 + r.tree(l.high[:], 8)
}

// lzma is the state of the decoder, as in the specification.
type lzma struct {
	code         decoder
	lc, lp, pb   int
	literal      []uint16
	state        int
	rep          [4]int // the last distances, less 1
	isMatch      [states][16]uint16
	isRep        [states]uint16
	isRep0       [states]uint16
	isRep1       [states]uint16
	isRep2       [states]uint16
	isRep0Long   [states][16]uint16
	slot         [4][64]uint16
	special      [128]uint16
	align        [16]uint16
	length, reps lengths
}

// setProperties takes the byte with the three parameters.
func (d *lzma) setProperties(b byte) bool {
	p := int(b)
	d.lc, d.lp, d.pb = p%9, p/9%5, p/45
	if p >= 9*5*5 || d.lc+d.lp > 4 {
		return false
	}
	d.literal = make([]uint16, 0x300<<(d.lc+d.lp))
	return true
}

// reset forgets all but the properties.
func (d *lzma) reset() {
	*d = lzma{lc: d.lc, lp: d.lp, pb: d.pb, literal: d.literal}
	even := func(p []uint16) {
		for i := range p {
			p[i] = 1 << 10
		}
	}
	even(d.literal)
	for _, p := range []*[states]uint16{&d.isRep, &d.isRep0, &d.isRep1, &d.isRep2} {
		even(p[:])
	}
	for i := range states {
		even(d.isMatch[i][:])
		even(d.isRep0Long[i][:])
	}
	for i := range d.slot {
		even(d.slot[i][:])
	}
	even(d.special[:])
	even(d.align[:])
	for _, l := range []*lengths{&d.length, &d.reps} {
		even(l.choice[:])
		even(l.high[:])
		for i := range l.low {
			even(l.low[i][:])
			even(l.mid[i][:])
		}
	}
}

// unpack goes on until there are end bytes.
func (d *lzma2) unpack(end int) bool {
	for len(d.out) < end && !d.code.bad() {
		at := len(d.out) - d.start
		position := at & (1<<d.pb - 1)
		if d.code.bit(&d.isMatch[d.state][position]) == 0 {
			if !d.putLiteral(at) {
				return false
			}
			continue
		}
		length, ok := d.match(position)
		distance := d.rep[0] + 1
		if !ok || distance > at || len(d.out)+length > end {
			return false
		}
		for range length {
			d.out = append(d.out, d.out[len(d.out)-distance])
		}
	}
	return len(d.out) == end
}

// putLiteral reads one byte, by the one before it and, behind a match, by the
// one that would have continued it.
func (d *lzma2) putLiteral(at int) bool {
	before := 0
	if at > 0 {
		before = int(d.out[len(d.out)-1])
	}
	which := (at&(1<<d.lp-1))<<d.lc + before>>(8-d.lc)
	p := d.literal[0x300*which:][:0x300]
	m := 1
	if d.state >= 7 {
		if d.rep[0]+1 > at {
			return false
		}
		expected := int(d.out[len(d.out)-d.rep[0]-1])
		for m < 0x100 {
			want := expected >> 7 & 1
			expected <<= 1
			got := d.code.bit(&p[(1+want)<<8+m])
			m = m<<1 | got
			if got != want {
				break
			}
		}
	}
	for m < 0x100 {
		m = m<<1 | d.code.bit(&p[m])
	}
	d.out = append(d.out, byte(m))
	switch {
	case d.state < 4:
		d.state = 0
	case d.state < 10:
		d.state -= 3
	default:
		d.state -= 6
	}
	return true
}

// match reads a length, and the distance into rep[0].
func (d *lzma) match(position int) (length int, ok bool) {
	later := func(literal, match int) int {
		if d.state < 7 {
			return literal
		}
		return match
	}
	if d.code.bit(&d.isRep[d.state]) == 0 {
		length = minLength + d.length.read(&d.code, position)
		d.state = later(7, 10)
		copy(d.rep[1:], d.rep[:3])
		d.rep[0] = d.distance(length)
		return length, d.rep[0] != 0xffffffff // the mark of an end, which LZMA2 does not use
	}
	switch {
	case d.code.bit(&d.isRep0[d.state]) == 0:
		if d.code.bit(&d.isRep0Long[d.state][position]) == 0 {
			d.state = later(9, 11)
			return 1, true
		}
	case d.code.bit(&d.isRep1[d.state]) == 0:
		d.rep[0], d.rep[1] = d.rep[1], d.rep[0]
	case d.code.bit(&d.isRep2[d.state]) == 0:
		d.rep[0], d.rep[1], d.rep[2] = d.rep[2], d.rep[0], d.rep[1]
	default:
		d.rep[0], d.rep[1], d.rep[2], d.rep[3] = d.rep[3], d.rep[0], d.rep[1], d.rep[2]
	}
	length = minLength + d.reps.read(&d.code, position)
	d.state = later(8, 11)
	return length, true
}

// distance reads one, less 1.
func (d *lzma) distance(length int) int {
	slot := d.code.tree(d.slot[min(length-minLength, 3)][:], 6)
	if slot < 4 {
		return slot
	}
	bits := slot>>1 - 1
	base := (2 | slot&1) << bits
	if slot < 14 {
		return base + d.code.reverse(d.special[base-slot:], bits)
	}
	high := d.code.direct(bits-4) << 4
	return base + high + d.code.reverse(d.align[:], 4)
}
