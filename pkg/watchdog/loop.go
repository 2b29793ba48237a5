package watchdog

import (
	"time"

	"vigil/pkg/condition"
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

// newPace makes the pace for a device that resets after timeout. interval 0 is
// a quarter of it. Wake-ups are no more than a second apart whatever the
// interval: a recovery, and a hold, must not wait for the next ping.
func newPace(timeout, interval time.Duration) pace {
	if interval == 0 {
		interval = timeout / 4
	}
	tick := interval / ((interval + maxTick - 1) / maxTick)
	return pace{interval, tick, max(timeout/4, 2*tick)}
}

// order is what the judging side leaves for the pinging side.
type order struct {
	condition.Verdict
	at   time.Duration // CLOCK_BOOTTIME when the look began
	pace pace
}

// loop decides, at each wake-up of the pinging thread, whether to ping and
// whether there is something to tell. It is pure: the time is an argument.
type loop struct {
	state  condition.State // as told last
	id     string          // that decided it
	woke   time.Duration
	pinged time.Duration
	ever   bool // pinged at least once
}

// step is one wake-up at now. again is the time until the next.
func (l *loop) step(now time.Duration, o *order) (ping bool, change *condition.Verdict, again time.Duration) {
	stalled := l.woke != 0 && now-l.woke > o.pace.expiry
	l.woke = now
	if stalled && now-o.at > o.pace.expiry {
		// This thread did not run, or the machine slept: that the verdict is
		// old is not the fault of whoever judges. Ask again, soon.
		return false, nil, o.pace.tick / 10
	}
	v := o.current(now)
	if v.State != l.state || v.ID != l.id {
		l.state, l.id = v.State, v.ID
		change = &v
	}
	due := !l.ever || now-l.pinged >= o.pace.interval-o.pace.tick/2
	if due && pings(v.State) {
		l.ever, l.pinged = true, now
		ping = true
	}
	return ping, change, o.pace.tick
}

func pings(s condition.State) bool { return s == condition.Holds || s == condition.Held }

// current gives the verdict as it counts at now.
func (o *order) current(now time.Duration) condition.Verdict {
	if now-o.at <= o.pace.expiry {
		return o.Verdict
	}
	return condition.Verdict{State: condition.Fails, Reason: "conditions not judged for " + (now - o.at).Round(100*time.Millisecond).String()}
}
