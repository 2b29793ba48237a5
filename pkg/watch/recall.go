package watch

import (
	"errors"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
)

// memorable tells whether there is something to remember of e.
func (e *entry) memorable() bool {
	return e.id != "" && (e.expected || e.state != Unknown || e.origin != nowhere || e.reject != 0)
}

// span is a time that is remembered.
type span struct {
	key string
	at  *time.Duration
}

// times are readings of the clock, none of them later than the save.
func (e *entry) times() [6]span {
	return [...]span{
		{"since_ms", &e.since}, {"beat_ms", &e.beat}, {"added_ms", &e.added},
		{"afresh_ms", &e.afresh}, {"starting_ms", &e.starting}, {"bt_ms", &e.bt},
	}
}

// spans are lengths of time.
func (e *entry) spans() [2]span {
	return [...]span{{"interval_ms", &e.interval}, {"ttl_ms", &e.ttl}}
}

// number is what is remembered as it is.
type number struct {
	key string
	n   *uint64
}

func (e *entry) numbers() [4]number {
	return [...]number{{"seq", &e.seq}, {"mark", &e.mark}, {"reject_mark", &e.rejectMark}, {"boot", &e.boot}}
}

// flags are the words for what is so.
func (e *entry) flags() [3]struct {
	word string
	is   *bool
} {
	return [...]struct {
		word string
		is   *bool
	}{{"beaten", &e.beaten}, {"stale", &e.stale}, {"first", &e.first}}
}

var origins = [...]string{nowhere: "nowhere", here: "here", foreign: "foreign", otherBoot: "other_boot"}

// append writes e as one line of a memory, without the line feed.
func (e *entry) append(w *jsonline.Writer) {
	w.Object("")
	w.Str("id", e.id)
	w.Str("state", e.state.String())
	w.Str("origin", origins[e.origin])
	w.Str("status", e.status.String())
	if e.reject > 0 {
		w.Str("reject", heartbeat.Reason(e.reject-1).String())
	}
	for _, f := range e.flags() {
		if *f.is {
			w.Bool(f.word, true)
		}
	}
	for _, s := range e.times() {
		if *s.at != 0 {
			w.Int(s.key, s.at.Milliseconds())
		}
	}
	for _, s := range e.spans() {
		if *s.at != 0 {
			w.Int(s.key, s.at.Milliseconds())
		}
	}
	for _, n := range e.numbers() {
		if *n.n != 0 {
			w.Uint(n.key, *n.n)
		}
	}
	if e.pid != 0 {
		w.Int("pid", int64(e.pid))
	}
	w.End()
}

// parseEntry reads what append has written, at a time.
func parseEntry(line []byte, at time.Duration) (entry, error) {
	var e entry
	err := jsonline.Parse(line, func(key string, v jsonline.Value) error {
		if err := e.member(key, v, at); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err == nil && !heartbeat.ValidID(e.id) {
		err = errors.New("no id")
	}
	if e.state == Held {
		e.held = true // so that the end of the hold is noticed
	}
	return e, err
}

func (e *entry) member(key string, v jsonline.Value, at time.Duration) error {
	for _, s := range e.times() {
		if s.key == key {
			return parseSpan(v, s.at, at)
		}
	}
	for _, s := range e.spans() {
		if s.key == key {
			return parseSpan(v, s.at, maxDuration*10)
		}
	}
	for _, n := range e.numbers() {
		if n.key == key {
			u, err := v.Uint()
			*n.n = u
			return err
		}
	}
	for _, f := range e.flags() {
		if f.word == key {
			*f.is = true
			return nil
		}
	}
	if key == "pid" {
		n, err := v.Int()
		e.pid = int32(n)
		return err
	}
	text, err := v.Str()
	if err != nil {
		return err
	}
	return e.word(key, text)
}

// parseSpan reads a time of whole milliseconds, of at most most.
func parseSpan(v jsonline.Value, d *time.Duration, most time.Duration) error {
	n, err := v.Int()
	if err == nil && (n < 0 || n > most.Milliseconds()+1) {
		err = errors.New("out of range")
	}
	*d = min(ms(n), most)
	return err
}

// word takes in one of the words that are written in names.
func (e *entry) word(key, text string) error {
	i, err := -1, error(nil)
	switch key {
	case "id":
		e.id = strings.Clone(text)
		return nil
	case "state":
		i = index(len(States), text, func(i int) string { return States[i].Name })
		e.state = State(max(i, 0))
	case "origin":
		i = index(len(origins), text, func(i int) string { return origins[i] })
		e.origin = origin(max(i, 0))
	case "status":
		var s heartbeat.Status
		s, err = heartbeat.ParseStatus(text)
		i, e.status = 0, s
	case "reject":
		i = index(int(heartbeat.Future)+1, text, func(i int) string { return heartbeat.Reason(i).String() })
		e.reject = uint8(i + 1)
	default:
		return nil // of a later version
	}
	if err == nil && i < 0 {
		err = errors.New("unknown word")
	}
	return err
}

// index finds text among n names.
func index(n int, text string, name func(int) string) int {
	for i := range n {
		if name(i) == text {
			return i
		}
	}
	return -1
}
