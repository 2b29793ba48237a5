package detector

import (
	"math"
	"time"
)

type chenRule struct {
	alpha float64 // intervals after the expected arrival
	size  int
}

// Chen expects the next beat where the last ones, on average, say, and calls the
// sender dead a margin alpha later (Chen, Toueg, Aguilera: On the Quality of
// Service of Failure Detectors, 2002: NFD-E):
//
//	EA = mean(A_i − η·s_i) + (l+1)·η
//
// over the last arrivals A_i of sequence numbers s_i, l being the newest. The
// paper has η, the period of the sender, as a constant; a sender that waits
// for η after each beat, and some more for jitter, has a longer one, which adds
// up. So η is what the window says: the time per beat from its first to its
// last. The expected arrival is never before the last one. A gap over thirty
// intervals is an outage: the window starts again. 8 bytes for each beat in
// the window, and 100, for each sender.
type Chen struct {
	rule     *chenRule
	steps    []step
	oldest   int // index in steps
	interval time.Duration

	// Relative to the newest beat, in milliseconds and beats: whole numbers, so
	// nothing drifts. The beat before steps[oldest] is in the window too.
	arrivals int64 // sum of (newest − A_i), ≤ n²·2^32
	numbers  int64 // sum of (l − s_i)
	span     int64 // newest − first
	count    int64 // l − first
}

// step leads from one beat that was seen to the next.
type step struct {
	span  uint32 // milliseconds
	count uint32 // in sequence numbers
}

// outage is the number of intervals beyond which a gap is no rhythm.
const outage = 30

// Learn takes in beats: of a batch, its length and its end.
func (c *Chen) Learn(b Beats) {
	if b.Interval != c.interval || b.Gap > times(min(b.Interval, longest), outage) {
		*c = Chen{rule: c.rule, steps: c.steps[:0], interval: b.Interval}
		if b.Gap > times(min(b.Interval, longest), outage) {
			return
		}
	}
	s := step{span: milli(b.Span), count: uint32(min(b.Count, math.MaxUint32))}
	n := int64(len(c.steps)) + 1 // beats in the window
	if len(c.steps) < c.rule.size-1 {
		c.steps = append(c.steps, s)
	} else {
		// The first beat leaves; n−1 of the old ones stay.
		n--
		c.arrivals -= c.span
		c.numbers -= c.count
		c.span -= int64(c.steps[c.oldest].span)
		c.count -= int64(c.steps[c.oldest].count)
		c.steps[c.oldest] = s
		if c.oldest++; c.oldest == len(c.steps) {
			c.oldest = 0
		}
	}
	c.arrivals += n * int64(s.span)
	c.numbers += n * int64(s.count)
	c.span += int64(s.span)
	c.count += int64(s.count)
}

// Dead is the silence after which the sender is dead.
func (c *Chen) Dead(interval time.Duration) time.Duration {
	interval = min(interval, longest)
	margin := times(interval, c.rule.alpha)
	if interval != c.interval || c.count == 0 {
		return interval + margin
	}
	period := float64(c.span) / float64(c.count)
	n := float64(len(c.steps) + 1)
	expected := period + (period*float64(c.numbers)-float64(c.arrivals))/n
	return times(time.Millisecond, max(expected, 0)) + margin
}
