package watch

import (
	"time"

	"vigil/pkg/heartbeat"
)

// Of those who live, more than massShare percent, and more than massLeast, have
// to die together before that is a mass failure.
const (
	massLeast = 3
	massShare = 30
)

// mass is about many that fall silent together, which is rarely many faults:
// rather a full disk, a lost mount, a machine out of breath. To restart all of
// them at once would make it worse.
type mass struct {
	until time.Duration // nobody is found dead before
	over  time.Duration // nothing is declared again before
}

// Brace takes in all that is about to be judged, after it was observed. If too
// many are dying within one interval of theirs, it tells so, and Judge finds
// nobody dead for one interval and another look. What is left dead then is
// told of as ever.
func (c *Core) Brace(due []int32) {
	var now time.Duration
	dying := 0
	for _, key := range due {
		e := c.entries[key]
		if _, suspect := c.deadlines(e); e.visited-max(e.heard(), e.afresh) < suspect {
			continue // most of them
		}
		v := c.evaluate(e, e.visited)
		if !e.dies(v) {
			continue
		}
		if _, yes := c.withheld(e, v, e.visited); !yes {
			dying, now = dying+1, max(now, e.visited)
		}
	}
	// The second saves the counting where there cannot be that many.
	if dying == 0 || now < c.mass.over || dying+c.states[Suspect]+c.states[Failed]+c.states[Dead] <= massLeast {
		return
	}
	dying, living, wait := c.toll(now)
	if dying <= max(massLeast, living*massShare/100) {
		return
	}
	c.mass = mass{until: now + wait, over: now + 2*wait}
	c.emit(Event{Kind: MassFailure, Count: uint64(dying), Of: uint64(living), Span: wait})
}

// dies tells whether a verdict on e is a new death by silence.
func (e *entry) dies(v verdict) bool {
	return v.state == Dead && v.timed && e.state != Dead && e.beaten && e.status != heartbeat.Stopping
}

// moment is within how long of each other deaths count as one.
func (e *entry) moment() time.Duration {
	return min(max(e.rhythm(), time.Second), time.Minute)
}

// toll counts who lived until now, and those of them who have just died, or
// will have unless they beat in the next moment; wait is the longest moment of
// these.
func (c *Core) toll(now time.Duration) (dying, living int, wait time.Duration) {
	for i := range c.entries {
		e := c.entries[i]
		if e.id == "" || !e.beaten || e.state == Unknown || e.state == Stopped {
			continue
		}
		moment := e.moment()
		if e.state == Dead && now-e.since > moment {
			continue
		}
		living++
		if e.state == Dead || c.fading(e, now, moment) {
			dying++
			wait = max(wait, moment)
		}
	}
	return dying, living, wait
}

// fading tells whether e is suspect, and dead within a moment.
func (c *Core) fading(e *entry, now, moment time.Duration) bool {
	if e.held || e.status == heartbeat.Stopping {
		return false
	}
	dead, suspect := c.deadlines(e)
	silence := now - max(e.heard(), e.afresh)
	return silence >= suspect && silence+moment >= dead
}

// massed tells whether a death has to wait, and until when.
func (c *Core) massed(e *entry, v verdict, now time.Duration) (until time.Duration, yes bool) {
	return c.mass.until, e.dies(v) && now < c.mass.until
}
