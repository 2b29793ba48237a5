package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
)

func (s *sim) lease(id string, ttl time.Duration) hold.Lease {
	return hold.Lease{ID: id, By: "root", Reason: "gdb", Nonce: fmt.Sprint(s.clock), SinceMS: s.clock.Milliseconds(), UntilMS: (s.clock + ttl).Milliseconds()}
}

func TestHold(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil); s.beat("b", nil) })
	s.expect("a unknown>alive beat", "b unknown>alive beat")
	// Taken at the last moment: only a look at the holds before the verdict sees it.
	s.run(2900 * time.Millisecond)
	s.leases["a"] = s.lease("a", time.Hour)
	s.run(200 * time.Millisecond)
	s.expect("hold a gdb", "a alive>held hold", "b alive>suspect timeout")
	s.run(10 * time.Minute)
	s.expect("b suspect>dead timeout")
	delete(s.leases, "a")
	s.run(1100 * time.Millisecond)
	s.expect("hold_end a gdb", "a held>alive hold_end")
	end := s.core.entries[0].afresh
	s.after(end+3*time.Second-s.clock, "a alive>suspect timeout")
	s.after(end+5*time.Second-s.clock, "a suspect>dead timeout")
	s.leases["a"] = s.lease("a", time.Minute) // a dead one may be held too
	s.run(time.Minute - 10*time.Millisecond)
	s.expect("hold a gdb", "a dead>held hold")
	s.run(1100 * time.Millisecond)
	s.expect("hold_end a gdb", "a held>alive hold_end")
}

// TestHoldEndsEveryClock: silence, starting, stopping, and never having come.
func TestHoldEndsEveryClock(t *testing.T) {
	s := begin(t, func(o *Options) {
		o.Expect = []string{"never", "stopping"}
		o.StoppedMax, o.Grace = 20*time.Second, 20*time.Second
	}, func(s *sim) {
		s.sender("starting", time.Second).rec.Status = heartbeat.Starting
		s.beat("starting", func(r *heartbeat.Record) { r.Status = heartbeat.Starting })
		s.beat("stopping", func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })
	})
	s.leases[hold.Host] = s.lease(hold.Host, 15*time.Minute)
	s.run(10 * time.Minute)
	delete(s.leases, hold.Host)
	s.run(19 * time.Second)
	for _, id := range []string{"never", "starting", "stopping"} {
		want := map[string]State{"never": Unknown, "starting": Alive, "stopping": Stopped}[id]
		if s.state(id) != want {
			t.Errorf("%s: %v", id, s.state(id))
		}
	}
	s.log()
	s.run(3 * time.Second)
	got := s.log()
	slices.Sort(got)
	want := []string{"never unknown>dead never_seen", "starting alive>degraded starting_too_long", "stopping stopped>dead stopped_too_long"}
	if !slices.Equal(got, want) {
		t.Errorf("have %q\nwant %q", got, want)
	}
}

// TestHoldIsNoRhythm: silence under a hold teaches the detector nothing.
func TestHoldIsNoRhythm(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.leases["a"] = s.lease("a", time.Hour)
	s.run(20 * time.Second)
	delete(s.leases, "a")
	s.run(1500 * time.Millisecond)
	s.beat("a", nil)
	s.run(2 * time.Second)
	if dead := s.core.entries[0].detector.Dead(time.Second); dead != 5*time.Second {
		t.Errorf("dead after %v", dead)
	}
}

// TestStandIn: a beat that says held is believed by those who see the hold.
func TestStandIn(t *testing.T) {
	held := func(r *heartbeat.Record) { r.Status = heartbeat.Held }
	s := begin(t, nil, func(s *sim) { s.beat("a", nil); s.beat("b", held) })
	for range 8 {
		s.beat("a", held)
		s.beat("b", held)
		s.run(time.Second)
	}
	s.expect("a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout", "b unknown>dead no_hold")
	s.leases["b"] = s.lease("b", 10*time.Second)
	for range 5 {
		s.beat("b", held)
		s.run(time.Second)
	}
	s.expect("hold b gdb", "b dead>held hold")
	s.run(20 * time.Second)
	s.expect("hold_end b gdb", "b held>alive hold_end", "b alive>suspect timeout", "b suspect>dead timeout")
}

// TestHoldEnds: the sender hears of the end of a hold after its reader. What it says
// until then is no reason for anything; nor does it excuse more than the full time.
func TestHoldEnds(t *testing.T) {
	held := func(r *heartbeat.Record) { r.Status = heartbeat.Held }
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.leases["a"] = s.lease("a", time.Hour)
	for range 60 {
		s.beat("a", held)
		s.run(time.Second)
	}
	s.expect("a unknown>alive beat", "hold a gdb", "a alive>held hold")
	delete(s.leases, "a")
	s.run(900 * time.Millisecond)
	s.beat("a", nil)
	s.run(2 * time.Second)
	s.expect("hold_end a gdb", "a held>alive hold_end")

	s.leases["a"] = s.lease("a", time.Hour)
	for range 10 {
		s.beat("a", held)
		s.run(time.Second)
	}
	delete(s.leases, "a")
	s.beat("a", held)
	s.run(2 * time.Second)
	s.expect("hold a gdb", "a alive>held hold", "hold_end a gdb", "a held>alive hold_end")
	end := s.core.entries[0].afresh
	for s.state("a") == Alive {
		s.beat("a", held)
		s.run(50 * time.Millisecond)
	}
	dead, suspect := s.core.deadlines(s.core.entries[0])
	if took := s.clock - end; took < suspect || took > suspect+time.Second {
		t.Errorf("suspect %v after the end of the hold, want %v", took, suspect)
	}
	for s.state("a") == Suspect {
		s.beat("a", held)
		s.run(50 * time.Millisecond)
	}
	if took := s.clock - end; took < dead || took > dead+time.Second {
		t.Errorf("dead %v after the end of the hold, want %v", took, dead)
	}
	s.expect("a alive>suspect timeout", "a suspect>dead timeout")
}

// TestFreeze stops everybody, at all phases and inside a sweep too: nobody may
// be blamed for it, and who is really silent must still be found.
func TestFreeze(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 15))
	for round := range 200 {
		s := begin(t, nil, nil)
		for i := range 1 + rnd.IntN(30) {
			n := s.sender(fmt.Sprintf("s%02d", i), time.Second)
			n.jitter = func() time.Duration { return time.Duration(rnd.Int64N(int64(100 * time.Millisecond))) }
			n.next += time.Duration(rnd.Int64N(int64(time.Second)))
		}
		s.run(3*time.Second + time.Duration(rnd.Int64N(int64(3*time.Second))))
		victim := s.beats[0]
		victim.dead = round%2 == 0
		for _, line := range s.log() {
			if !strings.HasSuffix(line, "unknown>alive beat") {
				t.Fatalf("round %d: before the freeze: %s", round, line)
			}
		}
		length := 300*time.Millisecond + time.Duration(rnd.Int64N(int64(time.Minute)))
		if round%3 == 0 { // inside the sweep
			reads := 1 + rnd.IntN(20)
			s.during = func(string) {
				if reads--; reads == 0 {
					s.freeze(length)
				}
			}
			for reads > 0 {
				s.run(100 * time.Millisecond)
			}
		} else { // asleep
			planned := s.wake()
			s.move(time.Duration(rnd.Int64N(int64(planned - s.clock + 1))))
			s.freeze(length)
			s.move(max(0, planned-s.clock))
			s.move(time.Duration(rnd.Int64N(int64(2 * time.Millisecond)))) // until it is scheduled
			s.awake(planned)
		}
		s.run(30 * time.Second)
		found := 0
		for _, ev := range s.events {
			switch {
			case ev.Kind != Transition || ev.To == Alive:
			case ev.ID == victim.rec.ID && victim.dead:
				found++
				if ev.To == Dead {
					found = 2
				}
			default:
				t.Errorf("round %d, freeze of %v: %+v", round, length, ev)
			}
		}
		if victim.dead && found != 2 {
			t.Errorf("round %d, freeze of %v: the silence was not found: %v", round, length, s.log())
		}
	}
}

func TestStallIsTold(t *testing.T) {
	s := begin(t, nil, nil)
	s.sender("a", 2*time.Second)
	s.run(10 * time.Second)
	s.log()
	planned := s.wake()
	s.move(planned - s.clock)
	s.freeze(499 * time.Millisecond) // a quarter of the interval
	s.awake(planned)
	s.expect()
	planned = s.wake()
	s.move(planned - s.clock)
	s.freeze(10 * time.Second)
	s.awake(planned)
	if len(s.events) != 1 || s.events[0].Span != 10*time.Second {
		t.Errorf("%+v", s.events)
	}
	s.expect("local_stall stall")
	s.run(10 * time.Second)
	planned = s.wake()
	s.move(planned - s.clock)
	s.slept += time.Hour
	s.freeze(time.Hour)
	s.awake(planned)
	s.expect("local_stall suspend")
	s.run(time.Minute)
	s.expect()
}

// TestStallAgainAndAgain: a machine that stalls all the time delays a verdict;
// it does not prevent it.
func TestStallAgainAndAgain(t *testing.T) {
	s := begin(t, nil, nil)
	n := s.sender("a", time.Second)
	s.run(3 * time.Second)
	n.dead = true
	died := s.clock
	for s.clock < died+10*time.Minute && s.state("a") != Dead {
		planned := s.wake()
		s.move(planned - s.clock)
		s.freeze(400 * time.Millisecond)
		s.awake(planned)
	}
	if s.state("a") != Dead || s.clock > died+25*time.Second {
		t.Errorf("%v after %v", s.state("a"), s.clock-died)
	}
}

// TestUnknownIsNotBlamed: who is first seen after a stall has time to beat, too.
func TestUnknownIsNotBlamed(t *testing.T) {
	s := begin(t, nil, nil)
	s.core.Stall(s.clock, time.Minute, "stall")
	s.beat("a", func(r *heartbeat.Record) { r.BTMS -= 60_000 })
	s.run(1400 * time.Millisecond)
	s.expect("local_stall stall")
	s.run(200 * time.Millisecond)
	s.expect("a unknown>dead timeout")
}
