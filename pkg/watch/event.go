package watch

import (
	"time"

	"vigil/pkg/jsonline"
)

// Kind is the word for what happened.
type Kind string

// The kinds of events.
const (
	Transition  Kind = "transition"   // an id has another state
	Rejected    Kind = "rejected"     // what lies in the file is not taken for a beat
	LocalStall  Kind = "local_stall"  // the watcher itself did not run
	MassFailure Kind = "mass_failure" // many die at the same time
	Gone        Kind = "gone"         // an id is dead or stopped for so long that it is forgotten
	HoldBegun   Kind = "hold"
	HoldEnding  Kind = "hold_ending"
	HoldEnded   Kind = "hold_end"
)

// Event is something that happened. Which members count depends on Kind.
type Event struct {
	Kind   Kind
	ID     string // of a hold also _host
	Reason string // a word of ours, but for the reason of a hold
	Detail string // what is wrong with the file

	// Of a transition; of gone, From is the last state.
	From, To State
	Beaten   bool          // Age, Seq and PID are known
	Age      time.Duration // since the last beat
	Deadline time.Duration // the Age at which it is dead, holds aside
	Seq      uint64
	PID      int
	File     string // absolute; "" where none was seen yet

	Count uint64        // of rejected: files so far with this reason; of mass_failure: the dying
	Of    uint64        // so many lived
	Span  time.Duration // how long the stall was; how long the hold lasts yet; how long it had been gone; how long no death is told
	By    string        // who holds
}

// Append writes the event as one line of JSON, without the line feed. Wall is
// shown as its time.
func (e *Event) Append(w *jsonline.Writer, wall time.Time) {
	w.Object("")
	w.Time("time", wall.UnixMilli())
	w.Str("event", string(e.Kind))
	switch e.Kind {
	case Transition:
		w.Str("id", e.ID)
		w.Str("from", e.From.String())
		w.Str("to", e.To.String())
		known(w, "age_ms", e.Beaten, e.Age.Milliseconds())
		w.Int("deadline_ms", e.Deadline.Milliseconds())
		if e.Beaten {
			w.Uint("seq", e.Seq)
		} else {
			w.Null("seq")
		}
		known(w, "pid", e.PID > 0, int64(e.PID))
		w.Str("reason", e.Reason)
	case Rejected:
		w.Str("id", e.ID)
		w.Str("reason", e.Reason)
		w.Str("detail", e.Detail)
		w.Uint("count", e.Count)
	case LocalStall:
		w.Int("stall_ms", e.Span.Milliseconds())
		w.Str("reason", e.Reason)
	case MassFailure:
		w.Uint("count", e.Count)
		w.Uint("of", e.Of)
		w.Int("wait_ms", e.Span.Milliseconds())
	case Gone:
		w.Str("id", e.ID)
		w.Str("state", e.From.String())
		w.Int("since_ms", e.Span.Milliseconds())
		w.Str("reason", e.Reason)
	default:
		w.Str("id", e.ID)
		w.Str("by", e.By)
		w.Str("reason", e.Reason)
		if e.Kind != HoldEnded {
			w.Int("left_ms", e.Span.Milliseconds())
		}
	}
	w.End()
}

// known writes a number, or null for one that is not known.
func known(w *jsonline.Writer, key string, ok bool, v int64) {
	if ok {
		w.Int(key, v)
	} else {
		w.Null(key)
	}
}
