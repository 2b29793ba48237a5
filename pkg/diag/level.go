package diag

import (
	"encoding"
	"sync"
	"time"
)

// A Leveler is the level of a log, which is read and set as text; a
// *slog.LevelVar is one.
type Leveler interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}

// expiryMost bounds for how long a change with an end may last.
const expiryMost = 24 * time.Hour

// LogLevel makes the verb loglevel, which tells the level and sets it:
//
//	loglevel [level=WORD] [for=DURATION]
//
// With for it returns to what it was before, unless it is set again meanwhile.
func LogLevel(l Leveler) Verb {
	v := &leveler{level: l}
	return Verb{
		Name: "loglevel", Admin: true, Run: v.run,
		Keys: []Key{{Name: "level", Hint: "WORD"}, {Name: "for", Hint: "DURATION"}},
		Help: "tell the level of the log, or set it, for a time or for good",
	}
}

type leveler struct {
	mu    sync.Mutex
	level Leveler
	back  *time.Timer // nil unless it returns to another level
	was   []byte      // which one
}

func (v *leveler) run(c Call) (r Reply, err error) {
	word, text := c.Get("level"), c.Get("for")
	var span time.Duration
	if text != "" {
		if span, err = time.ParseDuration(text); err != nil || span <= 0 || span > expiryMost || word == "" {
			return r, Usagef("for %s: want a time of at most %v, and a level", text, expiryMost)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	was, err := v.level.MarshalText()
	if err != nil {
		return r, err
	}
	if word != "" {
		if err := v.level.UnmarshalText([]byte(word)); err != nil {
			return r, Usagef("level %s: %v", word, err)
		}
		v.arm(was, span)
	}
	now, err := v.level.MarshalText()
	if err != nil {
		return r, err
	}
	r.Add("level", string(now))
	if v.back != nil {
		r.Add("returns_to", string(v.was))
	}
	return r, nil
}

// arm lets the level return to was after span; for good if that is 0. When it
// was to return already, it is to return to the same.
func (v *leveler) arm(was []byte, span time.Duration) {
	if v.back != nil {
		v.back.Stop()
		v.back, was = nil, v.was
	}
	if span == 0 {
		return
	}
	v.was = was
	var timer *time.Timer
	timer = time.AfterFunc(span, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.back == timer { // not set again just now
			v.back = nil
			_ = v.level.UnmarshalText(v.was) // it came from there
		}
	})
	v.back = timer
}
