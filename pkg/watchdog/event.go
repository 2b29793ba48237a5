package watchdog

import (
	"strconv"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/jsonline"
)

// Event is something to tell: to programs by its members, to people by Text.
type Event struct {
	TimeMS   int64  // wall clock, since 1970
	Name     string // "" for what only people want to know
	ID       string
	Reason   string
	By       string        // who holds
	Left     time.Duration // until the hold ends, or of a starving device until it resets
	Device   string
	Identity string        // of the device
	T        time.Duration // the timeout of an armed device
	Pre      time.Duration // its pretimeout
	DryRun   bool
	Text     string
	Grave    bool // a person should look
	Minor    bool // only who looks for something wants to know
}

// Line gives the event as one JSON line.
func (e *Event) Line() []byte {
	var w jsonline.Writer
	w.Object("")
	w.Time("time", e.TimeMS)
	w.Str("event", e.Name)
	for _, m := range [...]struct{ key, value string }{
		{"id", e.ID}, {"reason", e.Reason}, {"by", e.By}, {"device", e.Device}, {"identity", e.Identity},
	} {
		if m.value != "" {
			w.Str(m.key, cli.Escape(m.value))
		}
	}
	if e.Left != 0 {
		w.Int("left_ms", e.Left.Milliseconds())
	}
	if e.T != 0 {
		w.Int("timeout_ms", e.T.Milliseconds())
	}
	if e.Pre != 0 {
		w.Int("pretimeout_ms", e.Pre.Milliseconds())
	}
	if e.DryRun {
		w.Bool("dry_run", true)
	}
	w.End()
	return append(w.Bytes(), '\n')
}

// teller passes events on, from a goroutine of its own. A full pipe behind
// standard output or error must neither delay a ping nor let a verdict expire:
// what finds no room is counted and dropped.
type teller struct {
	queue        chan Event
	queued, told atomic.Int64
	lost         atomic.Int64
	out          func(Event)
}

func newTeller(out func(Event)) *teller {
	t := &teller{queue: make(chan Event, 64), out: out}
	go t.run()
	return t
}

func (t *teller) run() {
	for e := range t.queue {
		if n := t.lost.Swap(0); n > 0 {
			text := strconv.FormatInt(n, 10) + " messages dropped: whoever reads them is too slow"
			t.out(Event{TimeMS: e.TimeMS, Text: text, Grave: true})
		}
		t.out(e)
		t.told.Add(1)
	}
}

func (t *teller) tell(e Event) {
	e.TimeMS = time.Now().UnixMilli()
	t.queued.Add(1)
	select {
	case t.queue <- e:
	default:
		t.queued.Add(-1)
		t.lost.Add(1)
	}
}

// flush waits until all is told, but no longer than limit.
func (t *teller) flush(limit time.Duration) {
	for end := boottime.Now() + limit; t.told.Load() < t.queued.Load() && boottime.Now() < end; {
		time.Sleep(time.Millisecond)
	}
}
