package heartbeat

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
)

// Parse reads what a heartbeat file holds. wantID is the id that its name
// stands for; "" takes any id, and a foreign beat without one. The error is
// always a *Reject. A text without "v" that is an object and names wantID (or no
// id at all) is a foreign beat: its numbers other than the known ones are
// metrics.
func Parse(b []byte, wantID string) (Record, error) {
	p := parse{wantID: wantID}
	if err := p.whole(b); err != nil {
		return Record{}, err
	}
	return p.rec, nil
}

func malformed(detail string) error { return &Reject{Malformed, detail} }

// whole reads all of b into p.rec.
func (p *parse) whole(b []byte) error {
	if len(b) > MaxSize {
		return &Reject{Oversize, fmt.Sprintf("over %d bytes", MaxSize)}
	}
	p.text = bytes.TrimRight(b, " \n")
	if len(p.text) == 0 {
		return &Reject{Reason: Empty}
	}
	p.rec.Foreign = true
	if err := jsonline.Parse(p.text, p.member); err != nil {
		return reject(err, len(p.text))
	}
	r := &p.rec
	if r.Foreign {
		return p.foreign()
	}
	switch {
	case p.behindSig:
		return malformed("sig: is not the last member")
	case p.behindCRC:
		return malformed("crc: is followed by more than sig")
	case p.wantID != "" && r.ID != p.wantID:
		return &Reject{WrongID, fmt.Sprintf("record says %q", r.ID)}
	case b[len(b)-1] != '\n':
		return &Reject{Truncated, "no line feed at the end"}
	}
	for i, k := range required {
		if p.seen&(1<<i) == 0 {
			return malformed(k + ": missing")
		}
	}
	if err := r.check(); err != nil {
		return malformed(err.Error())
	}
	return nil
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

// member takes in one member. It is long: a switch with a case for each.
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
			return malformed("pid: out of range")
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
	case "via":
		err = p.via(v)
	case "msg":
		r.Msg, err = v.Str()
	case "m":
		err = v.Object(p.metric)
	case "crc":
		err = p.checksum(v)
	case "sig":
		if r.Sig, err = v.Str(); err == nil && r.Sig == "" {
			return malformed("sig: want 64 hexadecimal digits")
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
		return malformed(err.Error())
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
		return malformed("crc: white space before it")
	}
	if crc != string(appendChecksum(nil, p.text[:end])) {
		return &Reject{Torn, "crc does not match the text"}
	}
	p.rec.CRC = true
	return nil
}

// via is understood in records of ours only, as crc is.
func (p *parse) via(v jsonline.Value) error {
	if p.rec.Foreign || v.Kind != jsonline.Object {
		return p.other("via", v)
	}
	var via Via
	err := v.Object(func(key string, v jsonline.Value) (err error) {
		switch key {
		case "id":
			via.ID, err = v.Str()
		case "seq":
			via.Seq, err = v.Uint()
		case "start_ms":
			via.StartMS, err = v.Int()
		}
		return named("via "+strconv.Quote(key), err)
	})
	p.rec.Via = &via
	return err
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
func (p *parse) foreign() error {
	r := &p.rec
	switch {
	case r.ID == "":
		r.ID = p.wantID
	case p.wantID == "" && !ValidID(r.ID):
		return malformed(fmt.Sprintf("id %q", r.ID))
	case p.wantID != "" && r.ID != p.wantID:
		return &Reject{WrongID, fmt.Sprintf("record says %q", r.ID)}
	case r.IntervalMS < 0 || r.IntervalMS > maxMS || r.TTLMS < 0 || r.TTLMS > maxMS:
		return malformed("interval_ms or ttl_ms: out of range")
	}
	r.Boot, r.StartMS, r.TSMS, r.BTMS, r.LateMS, r.GapMaxMS, r.Sig = "", 0, 0, 0, 0, 0, ""
	for _, m := range p.unknown {
		if m.Name != "ts" {
			r.Metrics = append(r.Metrics, m)
		}
	}
	if err := CheckMetrics(r.Metrics); err != nil {
		return malformed(err.Error())
	}
	return nil
}

// named puts the member's name before a complaint about its value.
func named(key string, err error) error {
	if se, ok := errors.AsType[*jsonline.SyntaxError](err); ok {
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
	if r, ok := errors.AsType[*Reject](err); ok {
		return r
	}
	se, ok := errors.AsType[*jsonline.SyntaxError](err)
	switch {
	case !ok:
		return malformed(err.Error())
	case errors.Is(err, jsonline.ErrDuplicateKey):
		return &Reject{DuplicateKey, se.Error()}
	case se.Offset >= n:
		return &Reject{Truncated, se.Error()}
	}
	return malformed(se.Error())
}
