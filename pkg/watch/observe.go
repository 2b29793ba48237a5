package watch

import (
	"errors"
	"io/fs"
	"time"

	"vigil/pkg/detector"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// Look is what reading a heartbeat file gave.
type Look struct {
	Record heartbeat.Record
	Info   rundir.Info
	Err    error         // of heartbeat.ReadUnder
	Now    time.Duration // CLOCK_BOOTTIME after the file was read
	Wall   time.Time     // wall clock then, for files that have no other time
}

const (
	// btSlack allows for clocks that are read one after the other.
	btSlack = 10 * time.Millisecond
	// mtimeGrain is how far the time of a file may lie before the write: file
	// systems stamp with the time of the last timer tick (ktime_get_coarse).
	mtimeGrain = 20 * time.Millisecond
	// mtimeAhead is how far in the future it may lie, on a server's clock.
	mtimeAhead = time.Second
)

// Observe takes in a look. again means that the file may have been caught
// half-written: it will be due again at once, and there is nothing to judge.
func (c *Core) Observe(key int32, l *Look) (again bool) {
	e := c.entries[key]
	before := e.visited
	e.visited, e.known, e.clocked = l.Now, false, false
	c.excuse(e, l.Now)
	if errors.Is(l.Err, fs.ErrNotExist) {
		e.missing, e.reject, e.tries, e.read = true, 0, 0, l.Now
		return false
	}
	e.missing = false
	var rej *heartbeat.Reject
	if l.Err == nil {
		rej = c.accept(e, l, before)
	} else if !errors.As(l.Err, &rej) {
		rej = &heartbeat.Reject{Reason: heartbeat.Unreadable, Detail: l.Err.Error()}
	}
	if rej != nil {
		return c.refuse(key, rej, l)
	}
	e.reject, e.tries, e.mark = 0, 0, markOf(&l.Info)
	e.keep(l)
	return false
}

// refuse counts what is not taken for a beat, once for each new content, and
// tells of it once for each new reason.
func (c *Core) refuse(key int32, rej *heartbeat.Reject, l *Look) (again bool) {
	e := c.entries[key]
	reason, m := uint8(rej.Reason)+1, markOf(&l.Info)
	if e.reject == reason && e.rejectMark == m {
		e.keep(l)
		return false
	}
	if rej.Transient() && e.tries < looks-1 {
		e.tries++
		c.wheel.Set(key, l.Now+retryAfter)
		return true
	}
	c.rejects[rej.Reason]++
	if e.reject != reason {
		c.emit(Event{Kind: Rejected, ID: e.id, Reason: rej.Reason.String(), Detail: rej.Detail, Count: c.rejects[rej.Reason]})
	}
	e.reject, e.rejectMark, e.tries = reason, m, 0
	e.keep(l)
	return false
}

// markOf changes when somebody writes, replaces or touches the file. It is the
// same in every process, for a memory holds it.
func markOf(i *rundir.Info) uint64 {
	return mix(mix(mix(mix(0, uint64(i.ModTime.UnixNano())), i.Ino), i.Dev), uint64(i.Size))
}

// bootMark tells boots apart: FNV-1a of the id.
func bootMark(boot string) uint64 {
	mark := uint64(0xcbf29ce484222325)
	for i := range len(boot) {
		mark = (mark ^ uint64(boot[i])) * 0x100000001b3
	}
	return mark
}

// accept takes in a record that could be read, and finds out whether and when
// it was a beat.
func (c *Core) accept(e *entry, l *Look, before time.Duration) *heartbeat.Reject {
	r := &l.Record
	switch {
	case r.Foreign:
		return c.acceptForeign(e, l, before)
	case r.Boot == c.cfg.Boot:
		return c.acceptHere(e, l, before)
	}
	return c.acceptOther(e, l, before)
}

// acceptHere: of this boot, bt_ms is when the beat was. It has to grow, and
// cannot be of the future.
func (c *Core) acceptHere(e *entry, l *Look, before time.Duration) *heartbeat.Reject {
	bt := ms(l.Record.BTMS)
	if bt > l.Now+btSlack {
		return &heartbeat.Reject{Reason: heartbeat.Future, Detail: fmt.Sprintf("bt_ms lies %v ahead", bt-l.Now)}
	}
	if e.origin == here {
		if fresh, rej := e.order(bt, l.Record.Seq); !fresh {
			return rej
		}
	}
	e.origin = here
	c.beat(e, l, min(bt, l.Now), before)
	return nil
}

// acceptOther: bt_ms of another boot orders beats, but says nothing of when
// they were. What lies there at first sight may have lain there since before
// the reboot; and it cannot come after a beat of this boot.
func (c *Core) acceptOther(e *entry, l *Look, before time.Duration) *heartbeat.Reject {
	boot := bootMark(l.Record.Boot)
	switch {
	case e.origin == here:
		return &heartbeat.Reject{Reason: heartbeat.Replayed, Detail: "of another boot, after a beat of this one"}
	case e.origin != otherBoot || e.boot != boot:
		e.origin, e.boot = otherBoot, boot
		e.copy(l)
		return nil
	}
	if fresh, rej := e.order(ms(l.Record.BTMS), l.Record.Seq); !fresh {
		return rej
	}
	c.beat(e, l, changed(l, before), before)
	return nil
}

// order holds a record against the last one of the same boot: only a later one
// is fresh. Two beats may share a millisecond.
func (e *entry) order(bt time.Duration, seq uint64) (fresh bool, rej *heartbeat.Reject) {
	switch {
	case bt > e.bt, bt == e.bt && seq > e.seq:
		return true, nil
	case bt == e.bt && seq == e.seq:
		return false, nil
	}
	return false, &heartbeat.Reject{Reason: heartbeat.Replayed, Detail: fmt.Sprintf(
		"bt_ms %d seq %d, after %d seq %d", bt.Milliseconds(), seq, e.bt.Milliseconds(), e.seq)}
}

// acceptForeign: a beat without times is seen from the file. At first sight
// that is its mtime, with doubts; later, that it has changed.
func (c *Core) acceptForeign(e *entry, l *Look, before time.Duration) *heartbeat.Reject {
	if e.origin == foreign && e.mark == markOf(&l.Info) && e.seq == l.Record.Seq {
		return nil
	}
	known := e.origin != nowhere
	e.origin = foreign
	if known {
		c.beat(e, l, changed(l, before), before)
		return nil
	}
	age := l.Wall.Sub(l.Info.ModTime)
	if c.cfg.Once {
		if age < -mtimeAhead {
			return &heartbeat.Reject{Reason: heartbeat.Future, Detail: fmt.Sprintf("mtime lies %v ahead", -age)}
		}
		c.beat(e, l, l.Now-max(age, 0), before)
		return nil
	}
	e.copy(l)
	dead, _ := c.timeout(e)
	if age >= -mtimeAhead && age < dead {
		c.beat(e, l, l.Now-max(age, 0), before)
		return nil
	}
	// From before this boot, nothing can be said of it; and it is the wall clock
	// that says so: a younger one has time to show that it is not dead.
	e.stale = age < l.Now
	return nil
}

// changed estimates when a file that was found changed was written: its mtime
// tells, as long as it fits between the two looks. A clock that was stepped
// meanwhile cannot make the beat older than it can be, nor doubtful.
func changed(l *Look, before time.Duration) time.Duration {
	at := l.Now - l.Wall.Sub(l.Info.ModTime)
	if at < before-mtimeGrain || at > l.Now {
		return l.Now
	}
	return max(at, before)
}

// beat takes in a beat that was at a time.
func (c *Core) beat(e *entry, l *Look, at, before time.Duration) {
	r := &l.Record
	if r.Status == heartbeat.Held && !e.held {
		// Somebody stands in for the sender, under a hold that is not seen here.
		e.stale = !e.beaten
		e.copy(l)
		return
	}
	if e.beaten {
		c.learn(e, r, at)
	}
	e.first = !e.beaten && (r.Foreign || r.Seq <= 1)
	if r.Status == heartbeat.Starting && (e.status != heartbeat.Starting || !e.beaten) {
		e.starting = at
		if c.cfg.Once && r.StartMS > 0 {
			// What the sender's own clock says is better than nothing.
			e.starting -= ms(max(r.TSMS-r.StartMS, 0))
		}
	}
	e.beat, e.beaten, e.stale, e.excused = at, true, false, 0
	e.copy(l)
	c.tighten(e)
	if c.heard != nil {
		c.heard(e.id, at, e.seq)
	}
}

// learn tells the detector the longest gap since the last beat that was seen.
// What a hold, a stall of this program or a restart has made is no rhythm.
func (c *Core) learn(e *entry, r *heartbeat.Record, at time.Duration) {
	if e.held || e.beat < e.afresh || e.beat < c.stallEnd || e.status == heartbeat.Stopping || e.pid != int32(r.PID) {
		return
	}
	b := detector.Beats{Interval: e.rhythm(), Count: 1, Span: at - e.beat}
	b.Gap = e.read - e.beat // at that look it was still silent
	if r.Seq > e.seq {
		b.Count = r.Seq - e.seq
		b.Gap = max(b.Gap, b.Span/time.Duration(min(b.Count, 1<<32)))
	}
	if !c.cfg.EachBeat {
		// Of what was not looked at, the sender has kept the longest gap. It keeps
		// it for a while: to who has seen the beats, it is none of this one.
		b.Gap = max(b.Gap, ms(r.GapMaxMS))
	}
	e.detector.Learn(b)
	e.limit = 0
}

// copy takes over what a record says.
func (e *entry) copy(l *Look) {
	r := &l.Record
	e.pid, e.seq, e.status = int32(r.PID), r.Seq, r.Status
	e.bt, e.interval, e.ttl, e.limit = ms(r.BTMS), ms(r.IntervalMS), ms(r.TTLMS), 0
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
