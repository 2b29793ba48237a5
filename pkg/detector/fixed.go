package detector

import (
	"math"
	"time"
)

// Fixed calls a sender dead after a number of its intervals, five by default,
// and never under a floor of 5 s; after a longer gap than that leaves room for,
// twice that gap, up to thirty intervals. The peak of the gaps decays, half in
// 60 beats: stalls come in clusters, and a peak that is forgotten slowly is
// what keeps the second one from being an alarm. The zero Fixed has learned
// nothing and goes by the defaults. 16 bytes for each sender.
type Fixed struct {
	rule *fixedRule
	peak time.Duration
}

type fixedRule struct {
	intervals float64       // to dead, where no gap says otherwise
	floor     time.Duration // the least time to dead
	peak      float64       // by which the peak gap is multiplied
	halfLife  float64       // beats after which half of a peak is forgotten
	cap       float64       // intervals to dead at most, and longest gap learned
}

// The floor: senders beside busy neighbours were seen to beat 0.4 s late, at low
// priority 3.4 s late, whatever their interval.
var fixedDefault = fixedRule{intervals: 5, floor: 5 * time.Second, peak: 2, halfLife: 60, cap: 30}

func (f *Fixed) rules() *fixedRule {
	if f.rule == nil {
		return &fixedDefault
	}
	return f.rule
}

// Learn takes in beats. A gap over the cap is an outage, not the sender's
// rhythm, and is not learned.
func (f *Fixed) Learn(b Beats) {
	r := f.rules()
	if f.peak > 0 {
		f.peak = time.Duration(float64(f.peak) * math.Exp2(-float64(b.Count)/r.halfLife))
	}
	if b.Gap > f.peak && b.Gap <= r.ceiling(b.Interval) {
		f.peak = b.Gap
	}
}

// Dead is the silence after which the sender is dead.
func (f *Fixed) Dead(interval time.Duration) time.Duration {
	r := f.rules()
	want := max(times(min(interval, longest), r.intervals), r.floor, times(f.peak, r.peak))
	return min(want, r.ceiling(interval))
}

func (r *fixedRule) ceiling(interval time.Duration) time.Duration {
	return max(times(min(interval, longest), max(r.cap, r.intervals)), r.floor)
}

// Missed calls a sender dead when it has missed K beats: at half an interval
// past the time of the Kth. It learns nothing. 8 bytes for each sender.
type Missed struct {
	k uint64
}

// Learn does nothing: K is K.
func (*Missed) Learn(Beats) {}

// Dead is the silence after which the sender is dead.
func (m *Missed) Dead(interval time.Duration) time.Duration {
	return times(min(interval, longest), float64(m.k)+0.5)
}
