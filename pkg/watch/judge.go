package watch

import (
	"time"

	"vigil/pkg/heartbeat"
)

// verdict is what follows from all that is known of an id at one time.
type verdict struct {
	state  State
	reason string
	timed  bool          // it follows from silence, not from what the sender said
	next   time.Duration // when to look again
}

// worsens tells whether the verdict is worse than what is known of e. Of an
// unknown one nothing good is known, but nothing bad either.
func (v verdict) worsens(e *entry) bool {
	return v.state.Worse(e.state) || e.state == Unknown && v.state != Unknown && v.state.Worse(Alive)
}

// The words for why, besides those of heartbeat.Reason.
const (
	reasonTimeout    = "timeout"
	reasonTTLMax     = "ttl_max"
	reasonTimeoutMax = "timeout_max"
	reasonMissing    = "missing"
	reasonNeverSeen  = "never_seen"
	reasonOtherBoot  = "other_boot"
	reasonUnchanged  = "unchanged"
	reasonNoHold     = "no_hold"
	reasonHold       = "hold"
	reasonHoldEnd    = "hold_end"
	reasonBeat       = "beat"
	reasonStatus     = "status"
	reasonStarting   = "starting_too_long"
	reasonStopped    = "stopped_too_long"
	reasonStall      = "local_stall"
)

// Worsens tells whether Judge is about to find an id worse off, so that the
// holds have to be looked at before.
func (c *Core) Worsens(key int32) bool {
	e := c.entries[key]
	return c.evaluate(e, e.visited).worsens(e)
}

// Judge gives the verdict on what Observe has taken in, as of that look.
func (c *Core) Judge(key int32) {
	e := c.entries[key]
	now := e.visited
	c.excuse(e, now)
	if e.missing && !e.beaten && !e.expected {
		c.forget(key)
		return
	}
	v := c.evaluate(e, now)
	if c.forgettable(e, now) {
		c.gone(key, now)
		return
	}
	if until, yes := c.withheld(e, v, now); yes {
		c.wheel.Set(key, until)
		return
	}
	if until, yes := c.massed(e, v, now); yes {
		c.wheel.Set(key, until)
		return
	}
	if until, yes := c.doubted(e, v, now); yes {
		c.wheel.Set(key, until)
		return
	}
	c.settle(e, v, now)
	if c.cfg.EachBeat {
		v.next = min(v.next, now+e.rhythm())
	}
	c.wheel.Set(key, c.early(key, v.next, now))
}

// settle makes the verdict the state, and tells of it if it is another one.
func (c *Core) settle(e *entry, v verdict, now time.Duration) {
	if v.state == e.state {
		return
	}
	from := e.state
	c.states[from]--
	c.states[v.state]++
	e.state, e.since = v.state, now
	reason := v.reason
	switch {
	case reason != "":
	case from == Held:
		reason = reasonHoldEnd
	case v.state == Alive && (from == Unknown || from == Suspect || from == Dead):
		reason = reasonBeat
	default:
		reason = reasonStatus
	}
	dead, _ := c.deadlines(e)
	ev := Event{Kind: Transition, ID: e.id, From: from, To: v.state, Reason: reason, Deadline: dead, PID: int(e.pid), Seq: e.seq}
	if e.beaten {
		ev.Beaten, ev.Age = true, now-e.beat
	}
	c.emit(ev)
}

// evaluate judges e at now. It changes nothing.
func (c *Core) evaluate(e *entry, now time.Duration) verdict {
	switch {
	case e.held:
		return verdict{state: Held, reason: reasonHold, next: now + freshness}
	case !e.beaten:
		return c.unseen(e, now)
	case e.status == heartbeat.Stopping:
		return c.stopped(e, now)
	}
	said := c.said(e, now)
	silent := c.silent(e, now)
	if said.state.Worse(silent.state) {
		// An error does not become less of one by silence, until that is death.
		said.next = min(said.next, silent.next)
		return said
	}
	if silent.state == Alive {
		said.next = min(said.next, silent.next)
		return said
	}
	return silent
}

// said judges by the last beat alone.
func (c *Core) said(e *entry, now time.Duration) verdict {
	v := verdict{state: stateOf(e.status), next: now + freshness}
	if e.status != heartbeat.Starting {
		return v
	}
	late := max(e.starting, e.afresh) + c.grace(e)
	if now < late {
		v.next = min(v.next, late)
		return v
	}
	v.state, v.reason, v.timed = Degraded, reasonStarting, true
	return v
}

// silent judges by the time since the last beat alone; Alive stands for not
// silent.
func (c *Core) silent(e *entry, now time.Duration) verdict {
	dead, suspect := c.deadlines(e)
	since := max(e.heard(), e.afresh)
	v := verdict{state: Alive, next: since + suspect}
	if now-since < suspect {
		return v
	}
	// A beat that is old already when it is found brings nobody back.
	probe := min(e.probe(), max(dead/4, probeMin))
	v = verdict{state: Suspect, reason: c.silence(e), timed: true, next: min(since+dead, now+probe)}
	if now-since >= dead {
		v.state, v.next = Dead, now+probe
	}
	if e.reject == uint8(heartbeat.Unreadable)+1 && e.state != Dead {
		// The fault may well be on this side.
		v.state = Unknown
	}
	return v
}

// silence is why nothing is heard of e.
func (c *Core) silence(e *entry) string {
	switch {
	case e.reject > 0:
		return heartbeat.Reason(e.reject - 1).String()
	case e.missing:
		return reasonMissing
	case c.cfg.Timeouts[e.id] > 0 || c.cfg.Timeout > 0:
		return reasonTimeout
	case e.ttl > c.cfg.TTLMax:
		return reasonTTLMax
	case e.ttl == 0 && e.detector.Dead(e.rhythm()) > c.cfg.TimeoutMax:
		return reasonTimeoutMax
	}
	return reasonTimeout
}

// probe is how often e is looked at while it may come back.
func (e *entry) probe() time.Duration {
	return min(max(e.rhythm(), probeMin), freshness)
}

// stopped judges an id whose last beat was an orderly end.
func (c *Core) stopped(e *entry, now time.Duration) verdict {
	v := verdict{state: Stopped, next: now + e.probe()}
	if !e.expected {
		return v
	}
	late := max(e.beat, e.afresh) + c.cfg.StoppedMax
	if now >= late {
		v.state, v.reason, v.timed = Dead, reasonStopped, true
		return v
	}
	v.next = min(v.next, late)
	return v
}

// unseen judges an id that has never been seen to beat.
func (c *Core) unseen(e *entry, now time.Duration) verdict {
	v := verdict{state: Unknown, next: now + e.probe()}
	switch {
	case e.reject > 0:
		v.reason = heartbeat.Reason(e.reject - 1).String()
	case e.missing || e.origin == nowhere:
		v.reason = reasonNeverSeen
	case e.stale && e.status == heartbeat.Held:
		v.reason = reasonNoHold
	case e.stale:
		v.reason = reasonUnchanged
	default:
		v.reason = reasonOtherBoot
	}
	var late time.Duration
	switch {
	case e.expected:
		late = c.grace(e)
	case e.stale:
		late, _ = c.timeout(e)
	default:
		return v
	}
	late += max(e.added, e.afresh)
	if now < late || c.cfg.Once {
		v.next = min(v.next, late)
		return v
	}
	v.state, v.timed = Dead, true
	return v
}
