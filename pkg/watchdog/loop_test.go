package watchdog

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"vigil/pkg/condition"
)

const ms = time.Millisecond

func TestPace(t *testing.T) {
	for _, tt := range []struct{ timeout, interval, watch, wantInterval, tick, expiry time.Duration }{
		{time.Minute, 0, 0, 15 * time.Second, time.Second, 15 * time.Second},
		{time.Minute, 20 * time.Second, 0, 20 * time.Second, time.Second, 15 * time.Second},
		{4 * time.Second, time.Second, 0, time.Second, time.Second, 2 * time.Second},
		{time.Second, 0, 0, 250 * ms, 250 * ms, 500 * ms},
		{6 * time.Second, 1500 * ms, 0, 1500 * ms, 750 * ms, 1500 * ms},
		{time.Minute, 0, 2 * time.Second, 15 * time.Second, 500 * ms, time.Second},
		{time.Minute, 0, time.Hour, 15 * time.Second, time.Second, 15 * time.Second},
		{4 * time.Second, 0, minWatch, time.Second, minInterval, 2 * minInterval},
	} {
		if got := newPace(tt.timeout, tt.interval, tt.watch); got != (pace{tt.wantInterval, tt.tick, tt.expiry}) {
			t.Errorf("%s, %s, %s: %+v", tt.timeout, tt.interval, tt.watch, got)
		}
	}
}

// world is a simulation of the pinging thread, the judging side and the timer
// of the device. A wake-up is late by up to late; what the judge saw counts from the next wake-up on.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	now    time.Duration
	loop   loop
	order  order
	hung   bool // the judge does not answer
	late   time.Duration
	pings  []time.Duration
	events []string
	force  bool // the device is opened, whatever the conditions do
	turns  int  // from feeding to starving and back
	// starved is the time of wake-ups that found it starving.
	starved time.Duration
}

func newWorld(t *testing.T, timeout time.Duration) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(1, 2)), now: time.Hour, loop: loop{state: condition.Waiting}}
	w.order = order{Verdict: condition.Verdict{State: condition.Waiting}, at: w.now, pace: newPace(timeout, 0, 0)}
	return w
}

// run goes on for d with the conditions as v says.
func (w *world) run(d time.Duration, v condition.Verdict) {
	for end := w.now + d; w.now < end; {
		a := w.loop.step(w.now, &w.order)
		if a.ping {
			w.pings = append(w.pings, w.now)
		}
		if a.change != nil {
			w.events = append(w.events, states[a.change.State]+" "+a.change.ID)
		}
		if a.turn {
			w.turns++
		}
		if !a.feeds {
			w.starved += a.again
		}
		if !w.hung {
			w.order.Verdict, w.order.at = v, w.now
			w.order.live = w.order.live || v.State <= condition.Held || w.force
		}
		w.now += a.again
		if w.late > 0 {
			w.now += time.Duration(w.rnd.Int64N(int64(w.late)))
		}
	}
}

var (
	good = condition.Verdict{State: condition.Holds}
	held = condition.Verdict{ID: "a", State: condition.Held, Reason: "held by root: gdb"}
	bad  = condition.Verdict{ID: "a", State: condition.Fails, Reason: "silent"}
)

// longest is the longest time without a ping from from on.
func (w *world) longest(from time.Duration) (gap time.Duration) {
	last := from
	for _, p := range w.pings {
		if p >= from {
			gap, last = max(gap, p-last), p
		}
	}
	return max(gap, w.now-last)
}

func TestPingsInTime(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 4 * time.Second, time.Minute, time.Hour} {
		for _, v := range []condition.Verdict{good, held} {
			w := newWorld(t, timeout)
			w.late = w.order.pace.tick / 10
			w.run(3*w.order.pace.tick, v)
			start := w.now
			w.run(20*timeout, v)
			if gap := w.longest(start); gap > timeout/3 {
				t.Errorf("timeout %s: %s without a ping", timeout, gap)
			}
			if n := len(w.pings); n > 5*20 {
				t.Errorf("timeout %s: %d pings in 20 timeouts", timeout, n)
			}
		}
	}
}

func TestStarvesAndRecovers(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.run(time.Minute, good)
	w.run(2*time.Second, bad)
	before := len(w.pings)
	w.run(30*time.Second, bad)
	if n := len(w.pings); n != before {
		t.Errorf("%d pings while starving", n-before)
	}
	start := w.now
	w.run(10*time.Second, good)
	if n := len(w.pings); n <= before || w.pings[before]-start > 2*time.Second {
		t.Errorf("no ping within 2s of the recovery: %v after %s", w.pings[before:], start)
	}
	w.run(time.Minute, held)
	if got, want := strings.Join(w.events, ", "), "feeding , starving a, feeding , held a"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestVerdictExpires: a look that never ends (a hung file system) starves the
// device, after a quarter of the timeout, and its end feeds it again.
func TestVerdictExpires(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.run(time.Minute, good)
	w.hung = true
	start := w.now
	w.run(16*time.Second, good)
	last := w.pings[len(w.pings)-1]
	if last > start+15*time.Second {
		t.Errorf("pinged %s after the last verdict", last-start)
	}
	n := len(w.pings)
	w.run(time.Minute, good)
	if len(w.pings) != n {
		t.Errorf("%d pings on an old verdict", len(w.pings)-n)
	}
	w.hung = false
	w.run(3*time.Second, good)
	if len(w.pings) == n {
		t.Error("no ping after the verdict")
	}
	if got, want := strings.Join(w.events, ", "), "feeding , starving , feeding "; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if v := (&order{Verdict: good, pace: w.order.pace}).current(time.Minute); v.Reason != "conditions not judged for 1m0s" {
		t.Errorf("reason %q", v.Reason)
	}
}

// TestNeverJudged: the first look already hangs.
func TestNeverJudged(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.hung = true
	w.run(time.Minute, good)
	if got := strings.Join(w.events, ", "); got != "starving " || len(w.pings) != 0 {
		t.Errorf("told %q, %d pings", got, len(w.pings))
	}
}

// TestOwnStall: after a suspend, or when this thread did not run, the old
// verdict neither counts nor is held against the judge.
func TestOwnStall(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.run(time.Minute, good)
	n := len(w.pings)
	w.now += 8 * time.Hour
	a := w.loop.step(w.now, &w.order)
	if a.ping || a.change != nil || a.turn || a.again > 100*ms {
		t.Errorf("first wake-up: %+v", a)
	}
	start := w.now
	w.order.at = w.now
	w.now += a.again
	w.run(2*time.Second, good)
	if len(w.pings) == n || w.pings[n]-start > 200*ms {
		t.Errorf("no ping at once: %v", w.pings[n:])
	}
	if len(w.events) != 1 {
		t.Errorf("told %q", w.events)
	}
}

// TestLatch: with -latch no recovery counts, nor a hold, once the device is open.
func TestLatch(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.loop.latch = true
	w.run(time.Minute, bad) // the grace of a condition that never held is over
	w.run(time.Minute, good)
	if len(w.pings) == 0 || w.turns != 0 {
		t.Fatalf("%d pings, %d turns before anything starved", len(w.pings), w.turns)
	}
	w.run(2*time.Second, bad)
	before := len(w.pings)
	w.run(time.Minute, good)
	w.run(time.Minute, held)
	if n := len(w.pings); n != before || w.turns != 1 {
		t.Errorf("%d pings behind the latch, %d turns", n-before, w.turns)
	}
	if got, want := strings.Join(w.events, ", "), "starving a, feeding , starving a"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if got, want := w.loop.latched.Reason, "silent, and -latch"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestArmedLate: opened by -arm-after, the device is pinged while a grace lasts and
// starves where it is over, which is a turn although the state was told before.
func TestArmedLate(t *testing.T) {
	waiting := condition.Verdict{ID: "a", State: condition.Waiting, Reason: "missing"}
	w := newWorld(t, time.Minute)
	w.force = true
	w.run(time.Minute, waiting)
	if len(w.pings) == 0 || w.turns != 0 {
		t.Errorf("%d pings, %d turns within the grace", len(w.pings), w.turns)
	}
	w = newWorld(t, time.Minute)
	w.run(time.Minute, bad)
	w.force = true
	w.run(time.Minute, bad)
	if len(w.pings) != 0 || w.turns != 1 || w.starved < 58*time.Second {
		t.Errorf("%d pings, %d turns, starved for %s", len(w.pings), w.turns, w.starved)
	}
}
