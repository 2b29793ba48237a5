package heartbeat

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"

	"vigil/pkg/jsonline"
)

// Append appends r as one JSON line without padding or line feed. Parse gives
// the same Record back, and the same text again. Errors name the member that
// the format does not allow.
func Append(dst []byte, r *Record) ([]byte, error) {
	if err := r.check(); err != nil {
		return dst, err
	}
	var w jsonline.Writer
	w.Object("")
	w.Int("v", 1)
	w.Str("id", r.ID)
	optional(&w, "pid", int64(r.PID))
	w.Str("boot", r.Boot)
	optional(&w, "start_ms", r.StartMS)
	w.Uint("seq", r.Seq)
	w.Int("ts_ms", r.TSMS)
	w.Int("bt_ms", r.BTMS)
	w.Int("interval_ms", r.IntervalMS)
	optional(&w, "ttl_ms", r.TTLMS)
	w.Str("status", r.Status.String())
	optional(&w, "late_ms", r.LateMS)
	optional(&w, "gap_max_ms", r.GapMaxMS)
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
	if r.CRC {
		w.Str("crc", checksum(w.Bytes()))
	}
	if r.Sig != "" {
		w.Str("sig", r.Sig)
	}
	w.End()
	return append(dst, w.Bytes()...), nil
}

// checksum is CRC-32C in 8 hexadecimal digits. It finds torn reads; against
// malice there is the signature.
func checksum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
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
func AppendBlock(dst []byte, r *Record, size int) ([]byte, error) {
	start := len(dst)
	dst, err := Append(dst, r)
	if err != nil {
		return dst, err
	}
	need := len(dst) - start + 1
	size = (max(need, size) + Block - 1) / Block * Block
	if need > MaxSize || size > MaxSize {
		return dst[:start], fmt.Errorf("record of %d bytes: want at most %d", need, MaxSize)
	}
	for len(dst)-start < size-1 {
		dst = append(dst, ' ')
	}
	return append(dst, '\n'), nil
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
	case r.Sig != "" && !hexDigits(r.Sig, 64):
		return errors.New("sig: want 64 hexadecimal digits")
	case r.PID < 0 || r.PID > math.MaxInt32:
		return errors.New("pid: out of range")
	case r.IntervalMS == 0 && r.TTLMS == 0:
		return errors.New("interval_ms: want more than 0, or a ttl_ms")
	case int(r.Status) >= len(statusNames):
		return errors.New("status: unknown")
	case len(r.Metrics) > MaxMetrics:
		return fmt.Errorf("m: %d metrics, want at most %d", len(r.Metrics), MaxMetrics)
	}
	for _, t := range []struct {
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
	return checkMetrics(r.Metrics)
}

func checkMetrics(ms []Metric) error {
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
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// Parse reads what a heartbeat file holds. wantID is the id that its name
// stands for. The error is always a *Reject. A text without "v" that is an
// object and names wantID (or no id at all) is a foreign beat: its numbers other
// than the known ones are metrics.
func Parse(b []byte, wantID string) (Record, error) {
	if len(b) > MaxSize {
		return Record{}, &Reject{Oversize, fmt.Sprintf("over %d bytes", MaxSize)}
	}
	text := bytes.TrimRight(b, " \n")
	if len(text) == 0 {
		return Record{}, &Reject{Reason: Empty}
	}
	p := parse{text: text, wantID: wantID}
	p.rec.Foreign = true
	if err := jsonline.Parse(text, p.member); err != nil {
		return Record{}, reject(err, len(text))
	}
	r := p.rec
	if r.Foreign {
		return p.foreign()
	}
	switch {
	case p.behindSig:
		return Record{}, &Reject{Malformed, "sig: is not the last member"}
	case p.behindCRC:
		return Record{}, &Reject{Malformed, "crc: is followed by more than sig"}
	case r.ID != wantID:
		return Record{}, &Reject{WrongID, fmt.Sprintf("record says %q", r.ID)}
	case b[len(b)-1] != '\n':
		return Record{}, &Reject{Truncated, "no line feed at the end"}
	}
	for i, k := range required {
		if p.seen&(1<<i) == 0 {
			return Record{}, &Reject{Malformed, k + ": missing"}
		}
	}
	if err := r.check(); err != nil {
		return Record{}, &Reject{Malformed, err.Error()}
	}
	return r, nil
}

// required lists what a record of ours never lacks.
var required = [...]string{"id", "boot", "seq", "ts_ms", "bt_ms", "interval_ms", "status"}

type parse struct {
	text      []byte
	rec       Record
	wantID    string
	seen      uint // bit i: required[i]
	unknown   []Metric
	behindSig bool
	behindCRC bool
}

func (p *parse) member(key string, v jsonline.Value) error {
	for i, k := range required {
		if k == key {
			p.seen |= 1 << i
		}
	}
	p.behindSig = p.rec.Sig != ""
	p.behindCRC = p.behindCRC || p.rec.CRC && key != "sig"
	r := &p.rec
	var err error
	switch key {
	case "v":
		r.Foreign = false
		var version int64
		if version, err = v.Int(); err == nil && version != 1 {
			return &Reject{BadVersion, fmt.Sprintf("version %d, want 1", version)}
		}
	case "id":
		r.ID, err = v.Str()
	case "pid":
		var pid int64
		pid, err = v.Int()
		if pid < 0 || pid > math.MaxInt32 {
			return &Reject{Malformed, "pid: out of range"}
		}
		r.PID = int(pid)
	case "boot":
		r.Boot, err = v.Str()
	case "seq":
		r.Seq, err = v.Uint()
	case "start_ms":
		r.StartMS, err = v.Int()
	case "ts_ms":
		r.TSMS, err = v.Int()
	case "bt_ms":
		r.BTMS, err = v.Int()
	case "interval_ms":
		r.IntervalMS, err = v.Int()
	case "ttl_ms":
		r.TTLMS, err = v.Int()
	case "late_ms":
		r.LateMS, err = v.Int()
	case "gap_max_ms":
		r.GapMaxMS, err = v.Int()
	case "status":
		err = p.status(v)
	case "msg":
		r.Msg, err = v.Str()
	case "m":
		err = v.Object(p.metric)
	case "crc":
		err = p.checksum(v)
	case "sig":
		if r.Sig, err = v.Str(); err == nil && r.Sig == "" {
			return &Reject{Malformed, "sig: want 64 hexadecimal digits"}
		}
	default:
		err = p.other(key, v)
	}
	return named(key, err)
}

func (p *parse) status(v jsonline.Value) error {
	word, err := v.Str()
	if err != nil {
		return err
	}
	if p.rec.Status, err = ParseStatus(word); err != nil {
		return &Reject{Malformed, err.Error()}
	}
	return nil
}

func (p *parse) checksum(v jsonline.Value) error {
	crc, err := v.Str()
	if err != nil || p.rec.Foreign {
		return err
	}
	end := v.Offset - len(crcKey)
	if end < 0 || string(p.text[end:v.Offset]) != crcKey {
		return &Reject{Malformed, "crc: white space before it"}
	}
	if crc != checksum(p.text[:end]) {
		return &Reject{Torn, "crc does not match the text"}
	}
	p.rec.CRC = true
	return nil
}

func (p *parse) metric(name string, v jsonline.Value) error {
	f, err := v.Float()
	if err != nil {
		return named("metric "+strconv.Quote(name), err)
	}
	p.rec.Metrics = append(p.rec.Metrics, Metric{name, f})
	return nil
}

// other keeps unknown numbers: they are the metrics of a foreign beat. In a
// record of ours, unknown members are of a later version and skipped.
func (p *parse) other(key string, v jsonline.Value) error {
	if v.Kind != jsonline.Number {
		return nil
	}
	f, err := v.Float()
	if err != nil {
		return err
	}
	p.unknown = append(p.unknown, Metric{key, f})
	return nil
}

// foreign gives the beat of a sender that knows nothing of our format. Only its
// id, status, message, seq, pid and metrics are believed; when it beat is seen
// from the file, not read in it.
func (p *parse) foreign() (Record, error) {
	from := p.rec
	r := Record{
		Foreign: true, ID: p.wantID, PID: from.PID, Seq: from.Seq, Status: from.Status,
		IntervalMS: from.IntervalMS, TTLMS: from.TTLMS, Msg: from.Msg,
	}
	if from.ID != "" && from.ID != p.wantID {
		return Record{}, &Reject{WrongID, fmt.Sprintf("record says %q", from.ID)}
	}
	if r.IntervalMS < 0 || r.IntervalMS > maxMS || r.TTLMS < 0 || r.TTLMS > maxMS {
		return Record{}, &Reject{Malformed, "interval_ms or ttl_ms: out of range"}
	}
	for _, m := range append(from.Metrics, p.unknown...) {
		if m.Name != "ts" {
			r.Metrics = append(r.Metrics, m)
		}
	}
	if len(r.Metrics) > MaxMetrics {
		return Record{}, &Reject{Malformed, fmt.Sprintf("m: %d metrics, want at most %d", len(r.Metrics), MaxMetrics)}
	}
	if err := checkMetrics(r.Metrics); err != nil {
		return Record{}, &Reject{Malformed, err.Error()}
	}
	return r, nil
}

// named puts the member's name before a complaint about its value.
func named(key string, err error) error {
	var se *jsonline.SyntaxError
	if errors.As(err, &se) {
		reason := Malformed
		switch {
		case errors.Is(err, jsonline.ErrDuplicateKey):
			reason = DuplicateKey
		case errors.Is(err, strconv.ErrRange):
			reason = NotFinite
		}
		return &Reject{reason, key + ": " + se.Text}
	}
	return err
}

// reject finds the reason behind an error of jsonline in a text of n bytes.
func reject(err error, n int) error {
	var r *Reject
	var se *jsonline.SyntaxError
	switch {
	case errors.As(err, &r):
		return r
	case !errors.As(err, &se):
		return &Reject{Malformed, err.Error()}
	case errors.Is(err, jsonline.ErrDuplicateKey):
		return &Reject{DuplicateKey, se.Error()}
	case se.Offset >= n:
		return &Reject{Truncated, se.Error()}
	}
	return &Reject{Malformed, se.Error()}
}
