package watch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
)

// TestRandomLives lets anything happen to a few ids, and holds the judge to
// what must be true whatever happened: who is called alive has beaten lately,
// who is silent is not alive for long, and nobody is forgotten.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(90) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		trust := time.Duration(seed%3) * 2 * time.Second
		s := begin(t, func(o *Options) { o.Expect, o.trust = []string{"id0", "id1"}, trust }, nil)
		beaten := map[string]time.Duration{} // last good beat, or end of a hold
		for range 400 {
			id := fmt.Sprintf("id%d", rnd.IntN(5))
			s.randomStep(rnd, id, beaten)
			s.run(time.Duration(rnd.Int64N(int64(1500 * time.Millisecond))))
			s.checkLives(beaten)
		}
		s.leases = map[string]hold.Lease{}
		s.run(30 * time.Minute)
		for _, e := range s.core.entries {
			if e.id != "" && e.beaten && e.status != heartbeat.Stopping && e.state != Dead && e.reject != uint8(heartbeat.Unreadable)+1 {
				t.Errorf("seed %d: after half an hour of silence: %+v", seed, e)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomStep does one thing to an id.
func (s *sim) randomStep(rnd *rand.Rand, id string, beaten map[string]time.Duration) {
	switch rnd.IntN(12) {
	case 0, 1, 2, 3, 4:
		status := heartbeat.Status(rnd.IntN(5)) // all but held
		s.beat(id, func(r *heartbeat.Record) { r.Status = status })
		beaten[id] = s.clock
	case 5:
		s.foreignBeat(id)
		beaten[id] = s.clock
	case 6:
		s.spoil(id, heartbeat.Reason(rnd.IntN(int(heartbeat.Replayed))))
		s.discover()
	case 7:
		s.beat(id, func(r *heartbeat.Record) { r.Boot = lastBoot })
		beaten[id] = s.clock // where it is taken for a change
	case 8:
		delete(s.files, id)
	case 9:
		s.leases[id] = s.lease(id, time.Duration(1+rnd.Int64N(20))*time.Second)
	case 10:
		delete(s.leases, id)
	case 11:
		planned := s.wake()
		s.move(max(0, planned-s.clock))
		s.freeze(time.Duration(rnd.Int64N(int64(5 * time.Second))))
		s.awake(planned)
	}
}

// checkLives tells what must never be.
func (s *sim) checkLives(beaten map[string]time.Duration) {
	for key, e := range s.core.entries {
		if e.id == "" {
			continue
		}
		if at, ok := s.core.wheel.Next(); !ok || at > s.clock+10*time.Minute {
			s.t.Errorf("nothing is due before %v", at)
		}
		if e.state == Alive || e.state == Degraded || e.state == Failed {
			_, suspect := s.core.deadlines(e)
			// What it may be late: a slot, a stall, and the look at a hold.
			since := max(beaten[e.id], e.afresh, s.core.stallEnd)
			if idle := s.clock - since; idle > suspect+2*e.rhythm()+2*time.Second+s.opt.trust && e.state == Alive {
				s.t.Errorf("key %d is %v after %v: %+v", key, e.state, idle, e)
			}
		}
		if _, held := s.Active(e.id, s.clock); e.state == Held && !held && s.clock-s.polled > 2*time.Second {
			s.t.Errorf("%s is held by nobody", e.id)
		}
	}
}
