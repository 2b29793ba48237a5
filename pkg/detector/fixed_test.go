package detector

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

// one is a beat that came after a gap, of a sender of 1 s.
func one(gap time.Duration) Beats { return Beats{Interval: s, Count: 1, Span: gap, Gap: gap} }

func TestFixedVectors(t *testing.T) {
	type gap struct {
		gap   time.Duration
		beats uint64
	}
	for _, tt := range []struct {
		name          string
		interval      time.Duration
		gaps          []gap
		dead, suspect time.Duration
	}{
		{"five intervals", 10 * s, nil, 50 * s, 30 * s},
		{"the floor", 100 * ms, nil, 5 * s, 3 * s},
		{"floor and intervals meet", s, nil, 5 * s, 3 * s},
		{"no interval", 0, nil, 5 * s, 3 * s},
		{"gaps within the rhythm change nothing", s, []gap{{1100 * ms, 1}, {2 * s, 1}}, 5 * s, 3 * s},
		{"2.5 times the lateness", s, []gap{{4 * s, 1}}, 8500 * ms, 5100 * ms},
		{"the peak decays: half after 60 beats", s, []gap{{9 * s, 1}, {s, 60}}, 9750 * ms, 5850 * ms},
		{"the peak decays: a quarter after 120", s, []gap{{12 * s, 1}, {s, 60}, {s, 60}}, 6 * s, 3600 * ms},
		{"a forgotten peak", s, []gap{{12 * s, 1}, {s, 6000}}, 5 * s, 3 * s},
		{"a smaller gap does not lower the peak", s, []gap{{9 * s, 0}, {4 * s, 0}}, 21 * s, 12600 * ms},
		{"the cap: thirty intervals", s, []gap{{20 * s, 1}}, 30 * s, 18 * s},
		{"a gap at the cap is learned", s, []gap{{30 * s, 1}}, 30 * s, 18 * s},
		{"a gap over the cap is not learned", s, []gap{{30*s + 1, 1}}, 5 * s, 3 * s},
		{"the cap is never under the floor", 10 * ms, []gap{{4 * s, 1}}, 5 * s, 3 * s},
		{"ten years", 10 * 365 * 24 * time.Hour, nil, 5 * longest, 3 * longest},
		{"a century", 100 * 366 * 24 * time.Hour, []gap{{100 * 366 * 24 * time.Hour, 1 << 63}}, 5 * longest, 3 * longest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f Fixed
			for _, g := range tt.gaps {
				f.Learn(Beats{tt.interval, g.beats, g.gap, g.gap})
			}
			dead := f.Dead(tt.interval)
			if suspect := Suspect(tt.interval, dead); dead != tt.dead || suspect != tt.suspect {
				t.Errorf("dead after %v, suspect after %v; want %v, %v", dead, suspect, tt.dead, tt.suspect)
			}
		})
	}
}

// TestFixedClusters is what the decaying peak is for: stalls of 4 s that come
// in clusters of ten cost one alarm each cluster, not ten.
func TestFixedClusters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	var f Fixed
	alarms, stalls := 0, 0
	for range 100 {
		for range 10 {
			for range 20 {
				f.Learn(one(s + time.Duration(rnd.Int64N(int64(100*ms)))))
			}
			stall := 6*s + time.Duration(rnd.Int64N(int64(s)))
			stalls++
			if stall > f.Dead(s) {
				alarms++
			}
			f.Learn(one(stall))
		}
		f.Learn(Beats{s, 600, 600 * s, s})
	}
	if alarms != 100 || stalls != 1000 {
		t.Errorf("%d alarms in %d stalls", alarms, stalls)
	}
}
