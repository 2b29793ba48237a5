package watchdog

import (
	"time"

	"vigil/pkg/condition"
	"vigil/pkg/fmt"
)

// Bounds of what may be asked for.
const (
	MinTimeout  = time.Second
	minInterval = 10 * time.Millisecond
	maxTick     = time.Second
)

// pace is how fast everything goes for a timeout.
type pace struct {
	interval time.Duration // from ping to ping
	tick     time.Duration // from wake-up to wake-up: interval or an even part of it
	expiry   time.Duration // how long a verdict counts
}

// newPace makes the pace for a device that resets after timeout and a supervisor
// that kills after watch; 0 for none. interval 0 is a quarter of timeout. Wake-ups
// are no more than a second apart whatever the interval: a recovery, and a hold,
// must not wait for the next ping.
func newPace(timeout, interval, watch time.Duration) pace {
	if interval == 0 {
		interval = timeout / 4
	}
	longest, patience := maxTick, timeout
	if watch > 0 {
		longest, patience = max(min(longest, watch/4), minInterval), min(patience, watch)
	}
	tick := interval / ((interval + longest - 1) / longest)
	return pace{interval, tick, max(patience/4, 2*tick)}
}

// order is what the judging side leaves for the pinging side.
type order struct {
	condition.Verdict
	at   time.Duration // CLOCK_BOOTTIME when the look began
	pace pace
	live bool // the device is open, or would be: from now on a failure counts
}

// loop decides, at each wake-up of the pinging thread, whether to ping and
// whether there is something to tell. It is pure: the time is an argument.
type loop struct {
	latch    bool // once starving, stay so
	starving bool
	state    condition.State // as told last
	id       string          // that decided it
	latched  *condition.Verdict
	woke     time.Duration
	pinged   time.Duration
	ever     bool // pinged at least once
}

// action is what a wake-up comes to.
type action struct {
	ping   bool               // the device
	feeds  bool               // all is well, as far as anybody is to know
	change *condition.Verdict // to tell
	turn   bool               // it has begun or ceased to starve, which change says
	again  time.Duration      // until the next wake-up
}

// step is one wake-up at now.
func (l *loop) step(now time.Duration, o *order) action {
	stalled := l.woke != 0 && now-l.woke > o.pace.expiry
	l.woke = now
	if stalled && now-o.at > o.pace.expiry {
		// This thread did not run, or the machine slept: that the verdict is
		// old is not the fault of whoever judges. Ask again, soon.
		return action{again: o.pace.tick / 10}
	}
	v := l.verdict(now, o)
	starving := o.live && v.State == condition.Fails
	a := action{feeds: !starving, turn: starving != l.starving, again: o.pace.tick}
	if a.turn || v.State != l.state || v.ID != l.id {
		l.starving, l.state, l.id = starving, v.State, v.ID
		a.change = &v
	}
	if o.live && !starving && (!l.ever || now-l.pinged >= o.pace.interval-o.pace.tick/2) {
		l.ever, l.pinged = true, now
		a.ping = true
	}
	return a
}

// verdict is the one that counts at now.
func (l *loop) verdict(now time.Duration, o *order) condition.Verdict {
	if l.latched != nil {
		return *l.latched
	}
	v := o.current(now)
	if l.latch && o.live && v.State == condition.Fails {
		kept := v
		kept.Reason += ", and -latch"
		l.latched = &kept
		return kept
	}
	return v
}

// current gives the order's verdict as it counts at now.
func (o *order) current(now time.Duration) condition.Verdict {
	if now-o.at <= o.pace.expiry {
		return o.Verdict
	}
	return condition.Verdict{State: condition.Fails, Reason: fmt.Sprintf("conditions not judged for %s", (now - o.at).Round(100*time.Millisecond))}
}
