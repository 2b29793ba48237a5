package watch

import (
	"testing"
	"time"
)

// TestClockStepAtTheEdge: the wall clock is set by an hour, either way, at some moment
// between two beats that come just before each is due to be suspect: nobody is found
// silent for it, and whoever falls silent is found as late as ever.
func TestClockStepAtTheEdge(t *testing.T) {
	const every, suspect, dead = 5900 * time.Millisecond, 6 * time.Second, 10 * time.Second
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		for at := time.Duration(0); at <= every; at += 118 * time.Millisecond {
			s := begin(t, func(o *Options) { o.Timeout, o.Suspect = dead, suspect }, func(s *sim) {
				s.beat("own", nil)
				s.foreignBeat("foreign")
			})
			s.log()
			for i := range 4 {
				before := every
				if i == 2 {
					s.run(at)
					s.step += step
					before -= at
				}
				s.run(before)
				s.beat("own", nil)
				s.foreignBeat("foreign")
				if i == 3 {
					s.step -= step // written, not read yet
				}
			}
			s.run(every)
			for _, line := range s.log() {
				t.Errorf("step of %v at %v: %s", step, at, line)
			}
			s.run(dead - every + 200*time.Millisecond)
			if s.state("own") != Dead || s.state("foreign") != Dead {
				t.Errorf("step of %v at %v: %v, %v", step, at, s.state("own"), s.state("foreign"))
			}
		}
	}
}
