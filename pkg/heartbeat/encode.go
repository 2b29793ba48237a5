package heartbeat

import (
	"errors"
	"hash/crc32"
	"math"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
)

// Encoder turns records into text, in memory that it keeps from one to the
// next. The zero Encoder is ready. Not for concurrent use.
type Encoder struct {
	Key *Key // signs each record; nil: a record keeps the Sig that it has
	w   jsonline.Writer
}

// Append appends r as one JSON line without padding or line feed. Parse gives
// the same Record back, and the same text again. Errors name the member that
// the format does not allow.
func (e *Encoder) Append(dst []byte, r *Record) ([]byte, error) {
	if err := r.check(); err != nil {
		return dst, err
	}
	w := &e.w
	w.Reset()
	w.Object("")
	w.Int("v", 1)
	w.Str("id", r.ID)
	optional(w, "pid", int64(r.PID))
	w.Str("boot", r.Boot)
	optional(w, "start_ms", r.StartMS)
	w.Uint("seq", r.Seq)
	w.Int("ts_ms", r.TSMS)
	w.Int("bt_ms", r.BTMS)
	w.Int("interval_ms", r.IntervalMS)
	optional(w, "ttl_ms", r.TTLMS)
	w.Str("status", r.Status.String())
	optional(w, "late_ms", r.LateMS)
	optional(w, "gap_max_ms", r.GapMaxMS)
	if r.Via != nil {
		w.Object("via")
		if r.Via.ID != "" {
			w.Str("id", r.Via.ID)
		}
		w.Uint("seq", r.Via.Seq)
		optional(w, "start_ms", r.Via.StartMS)
		w.End()
	}
	if r.Msg != "" {
		w.Str("msg", r.Msg)
	}
	if len(r.Metrics) > 0 {
		w.Object("m")
		for _, m := range r.Metrics {
			w.Float(m.Name, m.Value)
		}
		w.End()
	}
	var room [2*shaSize + 2]byte
	if r.CRC {
		w.Raw("crc", append(appendChecksum(append(room[:0], '"'), w.Bytes()), '"'))
	}
	if e.Key != nil {
		w.Raw("sig", append(e.Key.Sign(append(room[:0], '"'), w.Bytes()), '"'))
	} else if r.Sig != "" {
		w.Str("sig", r.Sig)
	}
	w.End()
	return append(dst, w.Bytes()...), nil
}

// appendChecksum appends CRC-32C in 8 hexadecimal digits. It finds torn reads;
// against malice there is the signature.
func appendChecksum(dst, text []byte) []byte {
	v := crc32.Checksum(text, castagnoli)
	return appendHex(dst, []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcKey is what stands between the checked text and its checksum.
const crcKey = `,"crc":`

func optional(w *jsonline.Writer, key string, v int64) {
	if v != 0 {
		w.Int(key, v)
	}
}

// AppendBlock appends r as a block: padded with spaces to a multiple of Block,
// at least size bytes, the last byte a line feed. A record that needs more than
// MaxSize is an error.
func (e *Encoder) AppendBlock(dst []byte, r *Record, size int) ([]byte, error) {
	start := len(dst)
	dst, err := e.AppendLine(dst, r)
	if err != nil {
		return dst, err
	}
	size = (max(len(dst)-start, size) + Block - 1) / Block * Block
	if size > MaxSize {
		return dst[:start], fmt.Errorf("block of %d bytes: want at most %d", size, MaxSize)
	}
	dst[len(dst)-1] = ' '
	for pad := start + size - 1 - len(dst); pad > 0; pad -= len(blanks) {
		dst = append(dst, blanks[:min(pad, len(blanks))]...)
	}
	return append(dst[:start+size-1], '\n'), nil
}

const blanks = "                                                                "

// AppendLine appends r as a line with its line feed. One that is longer than
// MaxSize, which is also how much a pipe takes at once, is an error.
func (e *Encoder) AppendLine(dst []byte, r *Record) ([]byte, error) {
	start := len(dst)
	dst, err := e.Append(dst, r)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '\n')
	if n := len(dst) - start; n > MaxSize {
		return dst[:start], fmt.Errorf("record of %d bytes: want at most %d", n, MaxSize)
	}
	return dst, nil
}

// AppendBlock is Encoder.AppendBlock for one record.
func AppendBlock(dst []byte, r *Record, size int) ([]byte, error) {
	var e Encoder
	return e.AppendBlock(dst, r, size)
}

// check holds a record to the format, for Append and Parse alike.
func (r *Record) check() error {
	switch {
	case r.Foreign:
		return errors.New("foreign record: has no text form")
	case !ValidID(r.ID):
		return fmt.Errorf("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", r.ID)
	case !hexDigits(r.Boot, 32):
		return errors.New("boot: want 32 hexadecimal digits")
	case r.Sig != "" && !hexDigits(r.Sig, 2*shaSize):
		return errors.New("sig: want 64 hexadecimal digits")
	case r.PID < 0 || r.PID > math.MaxInt32:
		return errors.New("pid: out of range")
	case r.IntervalMS == 0 && r.TTLMS == 0:
		return errors.New("interval_ms: want more than 0, or a ttl_ms")
	case int(r.Status) >= len(statusNames):
		return errors.New("status: unknown")
	case r.Via != nil && r.Via.ID != "" && !ValidID(r.Via.ID):
		return fmt.Errorf("via: id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", r.Via.ID)
	}
	for _, t := range [...]struct {
		name   string
		v, top int64
	}{
		{"start_ms", r.StartMS, maxWallMS}, {"ts_ms", r.TSMS, maxWallMS}, {"bt_ms", r.BTMS, maxMS},
		{"interval_ms", r.IntervalMS, maxMS}, {"ttl_ms", r.TTLMS, maxMS},
		{"late_ms", r.LateMS, maxMS}, {"gap_max_ms", r.GapMaxMS, maxMS},
	} {
		if t.v < 0 || t.v > t.top {
			return fmt.Errorf("%s: %d is out of range", t.name, t.v)
		}
	}
	return CheckMetrics(r.Metrics)
}

// CheckMetrics holds metrics to the format: their number, their names, each
// name once, finite values.
func CheckMetrics(ms []Metric) error {
	if len(ms) > MaxMetrics {
		return fmt.Errorf("m: %d metrics, want at most %d", len(ms), MaxMetrics)
	}
	for i, m := range ms {
		if !validName(m.Name) {
			return fmt.Errorf("metric %q: want a name of 1 to 64 of A-Za-z0-9._-", m.Name)
		}
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
			return fmt.Errorf("metric %s: want a finite number", m.Name)
		}
		for _, before := range ms[:i] {
			if before.Name == m.Name {
				return fmt.Errorf("metric %s: given twice", m.Name)
			}
		}
	}
	return nil
}

func hexDigits(s string, n int) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == n
}
