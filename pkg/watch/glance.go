package watch

import (
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
	"vigil/pkg/schedule"
)

// To read a file costs more than twice as much as to ask when it was written. So
// what was not written since it was read is not read again. And where very many
// are watched, not each look at a healthy sender reads: the time of the last write
// is taken for a beat, where that has agreed with the record before. This much is
// granted on the word of the file's owner, who alone can write it; what is signed
// is always read. Before a verdict gets worse, the file is read.

const (
	// trustEach bounds what reading costs to 1 % of a core or so: contents count
	// for this long for each id that is watched. Under some thousands of ids that
	// is less than the time between two looks: all of them read.
	trustEach = 400 * time.Microsecond
	trustMost = 20 * time.Second
	// clockSlack is how far the time of a write may lie from that in the record.
	clockSlack = 100 * time.Millisecond
	// jitterShare of an interval is how late a healthy sender may beat.
	jitterShare = 10
	// cohort is how many neighbours are looked at together. They lie together in
	// the memory of the kernel as well as in ours: that saves half the time.
	cohort = 16384
	// earlyLeast is the least time between two looks that is worth a grid.
	earlyLeast = 4 * schedule.Slot
)

// identify gives what stays the same when a file is written in place.
func identify(i *rundir.Info) uint64 {
	return mix(mix(mix(mix(mix(0, i.Ino), i.Dev), uint64(i.Size)), uint64(i.Mode)), uint64(i.UID))
}

func mix(mark, n uint64) uint64 {
	mark = (mark ^ n) * 0x9e3779b97f4a7c15 // of Fibonacci hashing: odd, with bits all over
	return mark ^ mark>>32
}

// heard is when e was seen to be alive last.
func (e *entry) heard() time.Duration { return max(e.beat, e.glimpse) }

// trust is how long the contents of a file count without being read again.
func (c *Core) trust() time.Duration {
	return max(min(time.Duration(c.ids.n)*trustEach, trustMost), c.cfg.trust)
}

// keep remembers which contents were read: what a glance goes by.
func (e *entry) keep(l *Look) {
	written := l.Now - l.Wall.Sub(l.Info.ModTime)
	e.read = l.Now
	// What is written within one tick of the clock of the file system after it was
	// read looks unwritten.
	e.known = written < l.Now-mtimeGrain
	e.ident = identify(&l.Info)
	apart := written - e.beat
	e.clocked = e.origin == here && e.reject == 0 && l.Record.CRC && apart > -clockSlack && apart < clockSlack &&
		(e.status == heartbeat.OK || e.status == heartbeat.Degraded)
	e.glimpse = 0
}

// kept is the mark of the file when it was read last.
func (e *entry) kept() uint64 {
	if e.reject > 0 {
		return e.rejectMark
	}
	return e.mark
}

// Glances tells whether a glance at the file is worth it: then stat it, and tell
// Glance.
func (c *Core) Glances(key int32, now time.Duration) bool {
	e := c.entries[key]
	switch {
	case c.cfg.Once || c.cfg.EachBeat || e.bare || e.missing || e.held || e.tries > 0:
		return false
	case e.known && (e.state == Stopped || e.state == Dead || e.state == Suspect || e.reject > 0 || now < e.heard()+e.rhythm()):
		return true // nothing new is to be expected
	}
	return c.trusts(e, now)
}

// trusts tells whether a beat may be seen in the time of a write.
func (c *Core) trusts(e *entry, now time.Duration) bool {
	if !e.clocked || c.cfg.Signed || e.state != Alive && e.state != Degraded {
		return false
	}
	_, suspect := c.deadlines(e)
	return now+e.pace(suspect) <= e.read+c.trust()
}

// Glance takes in what stat said, with a wall clock. enough means that the file
// need not be read, and may be judged.
func (c *Core) Glance(key int32, l *Look) (enough bool) {
	e := c.entries[key]
	if l.Err != nil {
		return false
	}
	glimpse, read := e.glimpse, e.read
	switch written := l.Now - l.Wall.Sub(l.Info.ModTime); {
	case e.known && markOf(&l.Info) == e.kept():
		read = l.Now
	case !c.trusts(e, l.Now) || identify(&l.Info) != e.ident || written < e.beat-clockSlack || written > l.Now:
		return false
	default:
		glimpse = written
	}
	e.glimpse, glimpse = glimpse, e.glimpse
	c.excuse(e, l.Now)
	if v := c.evaluate(e, l.Now); v.state != e.state {
		e.glimpse = glimpse
		return false
	}
	e.visited, e.read, e.excused = l.Now, read, 0
	return true
}

// pace is how long a healthy sender can be left alone after any look at it.
func (e *entry) pace(suspect time.Duration) time.Duration {
	i := e.rhythm()
	return min(suspect-i-i/jitterShare, freshness) / schedule.Slot * schedule.Slot
}

// early moves a look at a healthy sender forward to where its neighbours are
// looked at, so that only those who are late have a time of their own.
func (c *Core) early(key int32, next, now time.Duration) time.Duration {
	e := c.entries[key]
	if e.state != Alive && e.state != Degraded || next-now < earlyLeast {
		return next
	}
	_, suspect := c.deadlines(e)
	pace := e.pace(suspect)
	if pace < earlyLeast {
		return next
	}
	// Cohorts are spread over the pace, any number of them evenly.
	phase := time.Duration(uint32(key/cohort)*0x9e3779b1%uint32(pace/schedule.Slot)) * schedule.Slot
	if at := next - (next-phase)%pace; at > now {
		return at
	}
	return next
}
