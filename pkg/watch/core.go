package watch

import (
	"slices"
	"time"

	"vigil/pkg/detector"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/schedule"
)

const (
	// freshness bounds how old a status may be before it is read again, however
	// long the deadline is.
	freshness = 5 * time.Second
	// retryAfter is between looks at a file that may be caught half-written.
	// The wheel makes a slot of it.
	retryAfter = 10 * time.Millisecond
	looks      = 3
	// probeMin bounds how often an id is looked at that may come back.
	probeMin = 250 * time.Millisecond
)

// Core is the judge. It is told what was read and what time it is, and gives
// events; it touches no file and reads no clock. Times are CLOCK_BOOTTIME. Not
// for concurrent use.
//
// For each key that Due gives, or New gave: read the file, Observe, and unless
// that asks for another look, Judge. Between the two, if anything Worsens, look
// at the holds and pass on what changed, then Brace for all that is due.
type Core struct {
	cfg     Config
	holds   Holds
	emit    func(Event)
	heard   func(id string, at time.Duration, seq uint64) // nil: nobody listens
	ask     func(Event)                                   // for a second opinion; nil: deaths are not doubted
	tell    func(text string, kv ...any)                  // what has become of it
	doubts  map[string]*doubt                             // by id
	ids     table
	entries []*entry
	free    []int32
	wheel   *schedule.Wheel
	due     []int32
	urgent  []int32 // of them
	rejects [heartbeat.Future + 1]uint64
	states  [len(States)]int // how many ids are in each
	mass    mass

	shortest time.Duration // interval of those watched; 0: none
	stallEnd time.Duration
	stalled  time.Duration // sum of all stalls
}

// origin is by which rule the beats of an id are timed.
type origin uint8

const (
	nowhere   origin = iota
	here             // bt_ms of this boot
	foreign          // observed change
	otherBoot        // observed change, in the order of bt_ms
)

// entry is what is known of one id.
type entry struct {
	id     string
	source int32 // which directory; the owner's number
	pid    int32
	state  State
	origin origin
	status heartbeat.Status
	reject uint8 // 1 + the reason why the file is not taken now; 0: it is
	tries  uint8 // looks at what may be half-written

	bare     bool // its file is touched, not written: the name is the id
	expected bool // dead when it never comes
	missing  bool // no file at the last look
	beaten   bool // a beat was accepted
	first    bool // only one, and it may be the sender's first
	stale    bool // never seen to beat, but said to have done: dead in the end
	held     bool
	known    bool // the file holds what was read, as long as it looks as kept
	clocked  bool // the time of its writing agreed with the record
	guessed  bool // neither the operator nor the record has named the limit

	beat     time.Duration // when the last beat was
	bt       time.Duration // bt_ms of the last record, valid within its boot
	seq      uint64
	interval time.Duration
	ttl      time.Duration
	detector detector.Detector
	limit    time.Duration // the timeout; 0: not reckoned

	added    time.Duration
	since    time.Duration // when state became what it is
	visited  time.Duration // when the file was read last; 0: never
	afresh   time.Duration // no silence counts from before this
	starting time.Duration // since when it says starting
	excused  time.Duration // awake time at which a verdict was first withheld
	read     time.Duration // when the contents were read last, or seen to be the same
	glimpse  time.Duration // a write after the last beat; 0: none was seen

	mark       uint64 // of the file when it was last taken for a record
	rejectMark uint64 // of the file that was not taken
	boot       uint64 // hash of another boot's id
	ident      uint64 // what stays the same of the file when it is written in place
}

// NewCore makes a judge of nothing yet. holds may be nil.
func NewCore(cfg Config, holds Holds, now time.Duration, emit func(Event)) *Core {
	if cfg.Detector == nil {
		cfg.Detector = func() detector.Detector { return new(detector.Fixed) }
	}
	return &Core{
		cfg: cfg, holds: holds, emit: emit,
		wheel: schedule.NewWheel(now - schedule.Slot), // so that the first Due finds what is new
	}
}

// New adds an id, which is due at once. expected means that its absence is
// reported too.
func (c *Core) New(id string, source int32, expected bool, now time.Duration) int32 {
	e := &entry{id: id, source: source, state: Unknown, expected: expected, added: now, detector: c.cfg.Detector()}
	var key int32
	if n := len(c.free); n > 0 {
		key = c.free[n-1]
		c.free = c.free[:n-1]
		c.entries[key] = e
	} else {
		key = int32(len(c.entries))
		c.entries = append(c.entries, e)
	}
	c.ids.set(c.entries, key)
	c.states[Unknown]++
	c.Hurry(key)
	return key
}

// key gives the key of an id.
func (c *Core) key(id string) (key int32, ok bool) { return c.ids.get(c.entries, id) }

// entry gives what is known of an id that is known.
func (c *Core) entry(id string) *entry {
	key, _ := c.key(id)
	return c.entries[key]
}

// forget drops an id of which nothing is known and nothing is left.
func (c *Core) forget(key int32) {
	c.wheel.Cancel(key)
	c.states[c.entries[key].state]--
	c.ids.drop(c.entries, c.entries[key].id)
	delete(c.doubts, c.entries[key].id)
	c.entries[key] = new(entry)
	c.free = append(c.free, key)
}

// Due gives the keys to look at now: first those about which a look may bring bad
// news, which need not wait for the many of whom nothing is feared. The slices are
// valid until the next call.
func (c *Core) Due(now time.Duration) (urgent, rest []int32) {
	c.due = c.wheel.Advance(now, c.due[:0])
	slices.Sort(c.due) // one order for all runs, and that of the memory
	c.urgent = c.urgent[:0]
	rest = c.due[:0]
	for _, key := range c.due {
		e := c.entries[key]
		_, suspect := c.deadlines(e)
		if e.state != Alive && e.state != Degraded || now-max(e.heard(), e.afresh) >= suspect {
			c.urgent = append(c.urgent, key)
		} else {
			rest = append(rest, key)
		}
	}
	return c.urgent, rest
}

// Next tells when Due will have something.
func (c *Core) Next() (at time.Duration, ok bool) { return c.wheel.Next() }

// Survey takes stock of what is watched; call it now and then.
func (c *Core) Survey() {
	c.shortest = 0
	for i := range c.entries {
		if e := c.entries[i]; e.id != "" && e.beaten && e.state != Stopped {
			c.tighten(e)
		}
	}
}

// tighten takes e's interval into account, or a fifth of its deadline where the
// operator wants to hear of silence sooner than the sender beats.
func (c *Core) tighten(e *entry) {
	dead, _ := c.timeout(e)
	if i := min(e.rhythm(), dead/5); c.shortest == 0 || i < c.shortest {
		c.shortest = i
	}
}

// Guard is how late the watcher may be before it must doubt what it sees: a
// quarter of the shortest interval watched, and at least 250 ms.
func (c *Core) Guard() time.Duration {
	if c.shortest == 0 && !c.cfg.Once {
		return time.Second // nobody to wrong
	}
	return max(c.shortest/4, 250*time.Millisecond)
}

// Stall takes in that the watcher did not run for gap, until now: whatever
// stopped it may have stopped the senders too. Nobody is found silent until
// each has had one and a half intervals to beat.
func (c *Core) Stall(now, gap time.Duration, reason string) {
	c.stallEnd = now
	c.stalled += gap
	c.emit(Event{Kind: LocalStall, Span: gap, Reason: reason})
}

// withheld tells whether a verdict must wait for the senders to recover from a
// stall of the watcher, and until when. A machine that stalls again and again
// delays a verdict by one more deadline of waking time, not for ever.
func (c *Core) withheld(e *entry, v verdict, now time.Duration) (until time.Duration, yes bool) {
	if !v.timed || !v.worsens(e) || c.stallEnd == 0 {
		return 0, false
	}
	dead, _ := c.timeout(e)
	until = c.stallEnd + min(e.rhythm()+e.rhythm()/2, 2*dead)
	if now >= until {
		return 0, false
	}
	awake := now - c.stalled
	if e.excused == 0 {
		e.excused = awake
	}
	return until, awake-e.excused <= dead
}

// Hold takes in what happened to a hold.
func (c *Core) Hold(ch hold.Change, now time.Duration) {
	kind := HoldBegun
	switch ch.Kind {
	case hold.Ending:
		kind = HoldEnding
	case hold.Ended:
		kind = HoldEnded
	}
	c.emit(Event{Kind: kind, ID: ch.Lease.ID, By: ch.Lease.By, Reason: ch.Lease.Reason, Span: ch.Left})
	if kind == HoldEnding {
		return
	}
	if ch.Lease.ID != hold.Host {
		if key, ok := c.key(ch.Lease.ID); ok {
			c.rejudge(key, now)
		}
		return
	}
	for key := range c.entries {
		if c.entries[key].id != "" {
			c.rejudge(int32(key), now)
		}
	}
}

// rejudge judges an id whose hold has changed, and has it looked at soon: its
// status may be of a time when it was held.
func (c *Core) rejudge(key int32, now time.Duration) {
	e := c.entries[key]
	c.excuse(e, now)
	if v := c.evaluate(e, now); !v.worsens(e) {
		c.settle(e, v, now)
	}
	c.Hurry(key)
}

// Hurry makes an id due with the next Due.
func (c *Core) Hurry(key int32) { c.wheel.Set(key, 0) }

// excuse finds out whether e is held. When a hold has ended, every clock of it
// starts afresh.
func (c *Core) excuse(e *entry, now time.Duration) {
	held := false
	if c.holds != nil {
		_, held = c.holds.Active(e.id, now)
	}
	if e.held && !held {
		e.afresh = now
	}
	e.held = held
}
