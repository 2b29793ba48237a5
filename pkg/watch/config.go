package watch

import (
	"strings"
	"time"

	"vigil/pkg/detector"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/schedule"
)

// Holds tells which ids are excused: a *hold.Reader.
type Holds interface {
	Active(id string, now time.Duration) (hold.Lease, bool)
}

// Config says how to judge. Durations of 0 mean that none was given, where
// that makes sense.
type Config struct {
	Boot string // id of this boot, 32 hexadecimal digits

	Timeout    time.Duration            // to dead, for all ids
	Timeouts   map[string]time.Duration // to dead, for some
	TTLMax     time.Duration            // most that a record's ttl_ms is granted
	TimeoutMax time.Duration            // most that the detector may ask for
	Suspect    time.Duration            // to suspect; by default a share of the time to dead
	Grace      time.Duration            // to be seen, or to be done with starting; by default twice the time to dead
	StoppedMax time.Duration            // that an expected id may say stopping
	Forget     time.Duration            // that an id may be dead or stopped before it is dropped; 0: for ever

	// Detector makes one for each id; nil makes the default. EachBeat has every
	// file looked at once per interval, as some detectors want.
	Detector func() detector.Detector
	EachBeat bool

	// Signed says that a signature is wanted: nothing else of a file tells of life.
	Signed bool

	trust time.Duration // for tests: as with very many ids

	// ConfirmMax is how long a death waits for a second opinion, where one is asked
	// for.
	ConfirmMax time.Duration

	// Once judges a single look at each file: nothing is remembered, so times
	// in files are all there is.
	Once bool
}

// assumedInterval is that of a beat which names none: what hbsend does when it
// is not told otherwise.
const assumedInterval = 5 * time.Second

// ParseTimeout reads "D" or "ID=D"; id is "" for the first.
func ParseTimeout(s string) (id string, d time.Duration, err error) {
	id, text, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		id, text = "", s
	case !heartbeat.ValidID(id):
		return "", 0, fmt.Errorf("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", id)
	}
	if d, err = time.ParseDuration(text); err != nil {
		return "", 0, fmt.Errorf("%q: want a duration with its unit, such as 30s", text)
	}
	if d < schedule.Slot || d > maxDuration {
		return "", 0, fmt.Errorf("%v: want at least %v and at most %v", d, schedule.Slot, maxDuration)
	}
	return id, d, nil
}

// maxDuration keeps sums of a few within a time.Duration.
const maxDuration = 10 * 366 * 24 * time.Hour

// ParseExpect reads "ID,ID,…".
func ParseExpect(s string) ([]string, error) {
	ids := strings.Split(s, ",")
	for _, id := range ids {
		if !heartbeat.ValidID(id) {
			return nil, fmt.Errorf("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", id)
		}
	}
	return ids, nil
}

// rhythm is the time between beats that the sender has declared.
func (e *entry) rhythm() time.Duration {
	if e.interval > 0 {
		return e.interval
	}
	return assumedInterval
}

// timeout is the silence after which e is dead; guessed tells that neither the
// operator nor the record has named it.
func (c *Core) timeout(e *entry) (dead time.Duration, guessed bool) {
	if e.limit == 0 {
		e.limit, e.guessed = c.reckon(e)
	}
	return e.limit, e.guessed
}

// reckon finds the timeout, which stays until something is learned of e.
func (c *Core) reckon(e *entry) (dead time.Duration, guessed bool) {
	own := c.cfg.Timeouts[e.id]
	switch {
	case own > 0:
		return own, false
	case c.cfg.Timeout > 0:
		return c.cfg.Timeout, false
	case e.ttl > 0:
		return min(e.ttl, c.cfg.TTLMax), false
	}
	return min(e.detector.Dead(e.rhythm()), c.cfg.TimeoutMax), true
}

// deadlines gives the silence after which e is dead, and suspect.
func (c *Core) deadlines(e *entry) (dead, suspect time.Duration) {
	dead, guessed := c.timeout(e)
	if guessed && e.first && !c.cfg.Once {
		// A sender is slowest at its start, and how slow is not known yet.
		dead = max(dead, c.grace(e))
	}
	if c.cfg.Suspect > 0 {
		return dead, min(c.cfg.Suspect, dead)
	}
	return dead, detector.Suspect(e.interval, dead) // 0 if it has declared none
}

// grace is the time that e has to be seen, or to be done with starting.
func (c *Core) grace(e *entry) time.Duration {
	if c.cfg.Grace > 0 {
		return c.cfg.Grace
	}
	dead, _ := c.timeout(e)
	return 2 * dead
}
