package watch

import (
	"testing"
	"time"

	"vigil/pkg/detector"
	"vigil/pkg/heartbeat"
)

// fed is a detector that remembers what it was told.
type fed struct{ beats []detector.Beats }

func (f *fed) Learn(b detector.Beats)                    { f.beats = append(f.beats, b) }
func (f *fed) Dead(interval time.Duration) time.Duration { return 5 * interval }

// TestEachBeat: a detector that wants it is told of each beat alone, with the
// true gap, whatever the sender remembers of earlier ones.
func TestEachBeat(t *testing.T) {
	for _, each := range []bool{true, false} {
		var f fed
		s := begin(t, func(o *Options) {
			o.EachBeat, o.Detector = each, func() detector.Detector { return &f }
		}, nil)
		sender := s.sender("a", time.Second)
		sender.rec.GapMaxMS = 2500
		n := 0
		sender.jitter = func() time.Duration { n++; return time.Duration(n%5) * 20 * time.Millisecond }
		s.run(2 * time.Minute)
		s.expect("a unknown>alive beat")
		if each && len(f.beats) < 110 || !each && len(f.beats) > 70 {
			t.Errorf("each %v: told %d times in two minutes", each, len(f.beats))
		}
		for _, b := range f.beats {
			if each && (b.Count != 1 || b.Gap != b.Span || b.Span > 1100*time.Millisecond) || !each && b.Gap != 2500*time.Millisecond {
				t.Errorf("each %v: %+v", each, b)
			}
		}
	}
}

// TestDetectors: each of the table judges a steady sender that dies, one that
// declares a time to live, and a first look.
func TestDetectors(t *testing.T) {
	want := map[string]time.Duration{
		"fixed:intervals=8": 8 * time.Second, "missed:k=3": 3500 * time.Millisecond, "phi": 4700 * time.Millisecond,
		"phi-exp": 18420 * time.Millisecond, "chen:alpha=3": 4 * time.Second,
	}
	for spec, dead := range want {
		kind, maker, err := detector.Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, func(o *Options) { o.Detector, o.EachBeat = maker, kind.EachBeat }, func(s *sim) {
			s.beat("ttl", func(r *heartbeat.Record) { r.TTLMS = 60_000 })
		})
		sender := s.sender("a", time.Second)
		s.run(25 * time.Minute)
		sender.dead = true
		s.run(time.Minute)
		last := s.events[len(s.events)-1]
		if last.ID != "a" || last.To != Dead || last.Age < dead-dead/10 || last.Age > dead+dead/10+100*time.Millisecond {
			t.Errorf("%s: want dead after %v, have %v>%v after %v", spec, dead, last.From, last.To, last.Age)
		}
		if got, _ := s.core.timeout(s.core.entry("ttl")); got != time.Minute {
			t.Errorf("%s: ttl_ms of a minute: %v", spec, got)
		}
	}
}
