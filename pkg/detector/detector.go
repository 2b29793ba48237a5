// Package detector decides how long a sender may be silent. It reads no clock:
// what it knows is what it was told of the beats that came.
//
// Each detector answers one question: how long after the last beat is the
// sender dead? That is all of Chen's freshness points and of the accrual
// detectors' thresholds, turned around: phi reaches its threshold at one time
// after the last beat, which is known when that beat comes. So a watcher need
// not compute phi again and again; it sets an alarm.
//
// A watcher that reads each beat feeds true intervals. One that samples, and
// learns at a visit that seq has grown by several, feeds what it can know:
// the number of beats, the time they took, and the longest gap among them (the
// sender's own gap_max_ms, or the silence it has seen itself). [Fixed] and
// [Missed] are made for that. The window detectors take it so that they err
// towards later: phi learns the longest gap of each batch, phi-exp the mean,
// Chen's its end. To be what their papers describe, and to have a window of
// beats, not of batches, they have to be fed each interval: look at the file
// once per interval.
package detector

import "time"

// Beats is what has come of one sender since its detector was told last.
type Beats struct {
	Interval time.Duration // that the sender declares, over 0
	Count    uint64        // how many beats, over 0: by how much seq has grown
	Span     time.Duration // from the last beat told of to the newest
	Gap      time.Duration // longest silence among them: Span, if Count is 1
}

// A Detector watches over one sender. Not for concurrent use.
type Detector interface {
	// Learn takes in beats. What a restart of the sender, a hold or a stall of
	// the watcher has made is no rhythm: do not tell of it.
	Learn(b Beats)
	// Dead is the silence after the newest beat that makes the sender dead,
	// given the interval that it declares.
	Dead(interval time.Duration) time.Duration
}

// An interval over a year counts as a year, so that no product overflows.
const longest = 366 * 24 * time.Hour

// Suspect is the silence after which a sender of that interval, which is dead
// after dead, becomes suspect: three fifths of dead, which is three intervals
// where dead is five. A beat that is in time makes nobody suspect: where dead is
// less than five intervals, it is halfway from the beat that is due to dead.
func Suspect(interval, dead time.Duration) time.Duration {
	fifths := dead/5*3 + dead%5*3/5
	if interval >= dead {
		return fifths // dead without a beat due: the operator knows better
	}
	return max(fifths, interval+(dead-interval)/2)
}

// times is factor·d, and a century where that were more.
func times(d time.Duration, factor float64) time.Duration {
	const century = 100 * longest
	if f := factor * float64(d); f < float64(century) {
		return time.Duration(f)
	}
	return century
}
