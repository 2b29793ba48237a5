package heartbeat

import (
	"bytes"
	"hash/crc32"
	"math"

	"vigil/pkg/rundir"
)

// Reader is ReadUnder for who reads again and again, and wants to judge, not to
// show: of a record as an Encoder writes it, Msg, Metrics, Via and Sig are left
// out, and nothing is allocated. The zero Reader is ready. Not for concurrent use.
type Reader struct {
	file rundir.Reader
	boot string // of the last record
}

// Read is ReadUnder of the file of a valid id, into r. Info tells of the file.
func (rd *Reader) Read(d *rundir.Dir, id string, terms *Terms, r *Record) error {
	b, err := rd.file.Read(d, id, Suffix, MaxSize)
	if err = admit(&rd.file.Info, terms, err); err != nil {
		return err
	}
	if !rd.glean(b, id, r) {
		*r = Record{}
		if err := take(b, id, terms, r); err != nil || !r.bald(terms) {
			return err
		}
		first := string(b)
		b, err = rd.file.Read(d, id, Suffix, MaxSize)
		return same(first, b, err)
	}
	if terms.Verify != nil {
		return terms.Verify(b)
	}
	return nil
}

// Stat tells what the file is, without reading it.
func (rd *Reader) Stat(d *rundir.Dir, id string) error { return rd.file.Stat(d, id, Suffix) }

// Info is what fstat said of the file that was read last, or stat of the one
// that was asked for.
func (rd *Reader) Info() *rundir.Info { return &rd.file.Info }

// glean takes a record that is written just as an Encoder does, with a checksum.
// What looks different in anything is left to Parse, which knows what is wrong
// with it, if there is.
func (rd *Reader) glean(b []byte, id string, r *Record) bool {
	end := len(b) - 1
	if len(b) > MaxSize || end < 0 || b[end] != '\n' {
		return false
	}
	for end > 0 && b[end-1] == ' ' {
		end--
	}
	c := cursor{b: b[:end]}
	*r = Record{ID: id, CRC: true}
	c.word(`{"v":1,"id":"`)
	c.word(id)
	c.word(`"`)
	if c.skip(`,"pid":`) {
		r.PID = int(c.number(math.MaxInt32))
	}
	c.word(`,"boot":"`)
	boot := c.hex(32)
	c.word(`"`)
	if c.skip(`,"start_ms":`) {
		r.StartMS = c.number(maxWallMS)
	}
	c.word(`,"seq":`)
	r.Seq = uint64(c.number(math.MaxInt64))
	c.word(`,"ts_ms":`)
	r.TSMS = c.number(maxWallMS)
	c.word(`,"bt_ms":`)
	r.BTMS = c.number(maxMS)
	c.word(`,"interval_ms":`)
	r.IntervalMS = c.number(maxMS)
	if c.skip(`,"ttl_ms":`) {
		r.TTLMS = c.number(maxMS)
	}
	c.word(`,"status":"`)
	r.Status = c.status()
	if c.skip(`,"late_ms":`) {
		r.LateMS = c.number(maxMS)
	}
	if c.skip(`,"gap_max_ms":`) {
		r.GapMaxMS = c.number(maxMS)
	}
	if c.skip(`,"msg":"`) {
		c.text()
	}
	if c.skip(`,"m":{`) {
		c.metrics()
	}
	if !c.sealed() || r.IntervalMS == 0 && r.TTLMS == 0 {
		return false
	}
	if rd.boot != string(boot) {
		rd.boot = string(boot)
	}
	r.Boot = rd.boot
	return true
}

// cursor walks along a text that should be a certain one. Once something is not
// as it should be, off is set, and nothing else counts.
type cursor struct {
	b   []byte
	i   int
	off bool
}

// skip goes on behind w, if that comes next.
func (c *cursor) skip(w string) bool {
	if len(c.b)-c.i < len(w) || string(c.b[c.i:c.i+len(w)]) != w {
		return false
	}
	c.i += len(w)
	return true
}

func (c *cursor) word(w string) { c.off = !c.skip(w) || c.off }

// number reads a whole number from 0 to top.
func (c *cursor) number(top int64) (n int64) {
	at := c.i
	for c.i < len(c.b) && c.b[c.i]-'0' < 10 {
		n = n*10 + int64(c.b[c.i]-'0')
		c.i++
	}
	// Eighteen digits do not overflow.
	c.off = c.off || c.i == at || c.i-at > 18 || c.b[at] == '0' && c.i-at > 1 || n > top
	return n
}

// hex reads n hexadecimal digits in lower case.
func (c *cursor) hex(n int) []byte {
	if len(c.b)-c.i < n {
		c.off = true
		return nil
	}
	digits := c.b[c.i : c.i+n]
	for _, d := range digits {
		c.off = c.off || d-'0' > 9 && d-'a' > 5
	}
	c.i += n
	return digits
}

func (c *cursor) status() Status {
	for s, name := range statusNames {
		if c.skip(name) {
			c.word(`"`)
			return Status(s)
		}
	}
	c.off = true
	return 0
}

// text passes a string of printable ASCII without escapes, and its end.
func (c *cursor) text() {
	for c.i < len(c.b) && c.b[c.i] >= ' ' && c.b[c.i] <= '~' && c.b[c.i] != '"' && c.b[c.i] != '\\' {
		c.i++
	}
	c.word(`"`)
}

// metrics passes the numbers of an object, and its end.
func (c *cursor) metrics() {
	var names [MaxMetrics][]byte
	for n := 0; !c.off; n++ {
		c.word(`"`)
		at := c.i
		c.text()
		if n == MaxMetrics || c.off {
			c.off = true
			return
		}
		name := c.b[at : c.i-1]
		for _, before := range names[:n] {
			c.off = c.off || bytes.Equal(before, name)
		}
		names[n] = name
		c.off = c.off || !validName(string(name))
		c.word(`:`)
		c.decimal()
		if c.skip(`}`) {
			return
		}
		c.word(`,`)
	}
}

// decimal passes a number that is far from the ends of a float64.
func (c *cursor) decimal() {
	c.skip(`-`)
	c.number(math.MaxInt64)
	if c.skip(`.`) {
		at := c.i
		for c.i < len(c.b) && c.b[c.i]-'0' < 10 {
			c.i++
		}
		c.off = c.off || c.i == at
	}
}

// sealed checks the end: the checksum of all before it, and a signature if there
// is one.
func (c *cursor) sealed() bool {
	end := c.i
	c.word(crcKey + `"`)
	sum := c.hex(8)
	c.word(`"`)
	if c.skip(sigKey + `"`) {
		c.hex(2 * shaSize)
		c.word(`"`)
	}
	c.word(`}`)
	if c.off || c.i != len(c.b) {
		return false
	}
	have := uint32(0)
	for _, d := range sum {
		have = have<<4 | uint32(digit(d))
	}
	return have == crc32.Checksum(c.b[:end], castagnoli)
}
