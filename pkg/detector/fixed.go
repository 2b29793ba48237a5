// Package detector decides how long a sender may be silent. It reads no clock:
// what it knows is what it was told of the beats that came.
package detector

import (
	"math"
	"time"
)

const (
	// floor is the least time to dead. Senders beside busy neighbours were seen
	// to beat 0.4 s late, at low priority 3.4 s late, whatever their interval.
	floor = 5 * time.Second

	deadIntervals = 5  // to dead, where no gap says otherwise
	capIntervals  = 30 // to dead at most, and the longest gap that is learned
	peakFactor    = 2
	halfLife      = 60 // beats after which half of a peak is forgotten

	// An interval over a year counts as a year, so that no product overflows.
	longest = 366 * 24 * time.Hour
)

// Fixed calls a sender dead after five of its intervals, and never under 5 s;
// after a longer gap than that leaves room for, twice that gap, up to thirty
// intervals. The peak of the gaps decays, half in 60 beats: stalls come in
// clusters, and a peak that is forgotten slowly is what keeps the second one
// from being an alarm. The zero Fixed has learned nothing. Not for concurrent
// use.
type Fixed struct {
	peak time.Duration
}

// Learn takes in that beats more beats have come since the last call, and that
// the longest gap among them was gap. A gap over the cap is an outage, not
// the sender's rhythm, and is not learned.
func (f *Fixed) Learn(interval, gap time.Duration, beats uint64) {
	f.peak = time.Duration(float64(f.peak) * math.Exp2(-float64(beats)/halfLife))
	if gap <= ceiling(interval) {
		f.peak = max(f.peak, gap)
	}
}

// Dead is the silence after which the sender is dead.
func (f *Fixed) Dead(interval time.Duration) time.Duration {
	want := max(deadIntervals*min(interval, longest), floor, peakFactor*f.peak)
	return min(want, ceiling(interval))
}

func ceiling(interval time.Duration) time.Duration {
	return max(capIntervals*min(interval, longest), floor)
}

// Suspect is the silence after which a sender that is dead after dead becomes
// suspect: three fifths of it, which is three intervals where those rule.
func Suspect(dead time.Duration) time.Duration {
	return dead/5*3 + dead%5*3/5
}
