package detector

import (
	"math"
	"time"
)

// Fixed calls a sender dead after a number of its intervals, five by default,
// and never under a floor of 5 s; after a gap that leaves little room in that,
// after an interval and 2.5 times what the gap was longer than an interval, up to
// thirty intervals. The peak of the gaps decays, half in 60 beats: stalls come in
// clusters, and a peak that is forgotten slowly is what keeps the second one
// from being an alarm. It is lateness that is multiplied, not the gap: the
// interval is no surprise, and on steady beats the deadline stays tight. The zero
// Fixed has learned nothing and goes by the defaults. 16 bytes for each sender.
type Fixed struct {
	rule *fixedRule
	peak time.Duration // of the gaps
}

type fixedRule struct {
	intervals float64       // to dead, where no lateness says otherwise
	floor     time.Duration // the least time to dead
	late      float64       // by which the lateness of the peak is multiplied
	decay     float64       // of the peak, at each beat
	halfLife  float64       // beats after which half of a peak is forgotten
	cap       float64       // intervals to dead at most, and longest gap learned
}

// The floor: senders beside busy neighbours were seen to beat 0.4 s late, at low
// priority 3.4 s late, whatever their interval.
var fixedDefault = newFixedRule(5, 5*time.Second, 2.5, 60, 30)

func newFixedRule(intervals float64, floor time.Duration, late, halfLife, cap float64) *fixedRule {
	return &fixedRule{intervals, floor, late, math.Exp2(-1 / halfLife), halfLife, max(cap, intervals)}
}

func (f *Fixed) rules() *fixedRule {
	if f.rule == nil {
		return fixedDefault
	}
	return f.rule
}

// Learn takes in beats. A gap over the cap is an outage, not the sender's
// rhythm, and is not learned.
func (f *Fixed) Learn(b Beats) {
	r := f.rules()
	if f.peak > 0 {
		decay := r.decay
		if b.Count != 1 {
			decay = math.Exp2(-float64(b.Count) / r.halfLife)
		}
		f.peak = time.Duration(float64(f.peak) * decay)
	}
	if b.Gap > f.peak && b.Gap <= r.ceiling(b.Interval) {
		f.peak = b.Gap
	}
}

// Dead is the silence after which the sender is dead.
func (f *Fixed) Dead(interval time.Duration) time.Duration {
	r := f.rules()
	interval = min(interval, longest)
	want := max(times(interval, r.intervals), r.floor, interval+times(max(f.peak-interval, 0), r.late))
	return min(want, r.ceiling(interval))
}

func (r *fixedRule) ceiling(interval time.Duration) time.Duration {
	return max(times(min(interval, longest), r.cap), r.floor)
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
