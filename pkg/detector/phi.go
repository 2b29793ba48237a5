package detector

import (
	"math"
	"time"
)

// A tail gives phi = −log10 P(a gap is longer), of how many standard deviations
// over the mean the silence is.
type tail func(y float64) float64

// logistic is the form that akka's PhiAccrualFailureDetector uses, a logistic
// approximation of the normal tail, with 1/(1+e^a) written as a softplus: it
// does not overflow, where akka's own is infinite from y = 22.
func logistic(y float64) float64 {
	a := y * (1.5976 + 0.070566*y*y)
	return (max(a, 0) + math.Log1p(math.Exp(-math.Abs(a)))) / math.Ln10
}

// normal is the exact tail of the normal distribution (Hayashibara et al.: The φ
// Accrual Failure Detector, 2004), up to y = 37: beyond, 1e-300 is never.
func normal(y float64) float64 {
	return -math.Log10(math.Erfc(min(y, 37)/math.Sqrt2) / 2)
}

// quantile is the y at which the tail reaches a threshold: phi only grows.
func (f tail) quantile(threshold float64) float64 {
	low, high := -40.0, 40.0
	for range 80 {
		if mid := (low + high) / 2; f(mid) < threshold {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

type phiRule struct {
	y     float64 // standard deviations at the threshold
	size  int
	minSD time.Duration
	pause time.Duration
}

// Phi is the accrual detector as akka runs it: dead when phi reaches the
// threshold, with mean and standard deviation of the last gaps, a least
// standard deviation, and a pause that is always granted. Until there are
// gaps, it assumes two, of 3/4 and 5/4 of the interval; and so when the
// declared interval changes. A gap that made the sender dead is not learned.
// 4 bytes for each gap in the window, and 100, for each sender.
type Phi struct {
	rule     *phiRule
	window   window
	interval time.Duration
	dead     time.Duration // of interval
}

// Learn takes in beats: of a batch, the longest gap.
func (p *Phi) Learn(b Beats) {
	if b.Interval != p.interval {
		p.interval = b.Interval
		p.window.reset(p.rule.size)
		p.window.add(b.Interval - b.Interval/4)
		p.window.add(b.Interval + b.Interval/4)
		p.dead = p.rule.dead(p.window.moments())
	}
	if b.Gap < p.dead {
		p.window.add(b.Gap)
		p.dead = p.rule.dead(p.window.moments())
	}
}

// Dead is the silence after which the sender is dead.
func (p *Phi) Dead(interval time.Duration) time.Duration {
	if interval != p.interval {
		ms := float64(milli(interval))
		return p.rule.dead(ms, ms/4)
	}
	return p.dead
}

// dead solves phi(t) = threshold for t. Mean and sd are in milliseconds.
func (r *phiRule) dead(mean, sd float64) time.Duration {
	sd = max(sd, float64(r.minSD)/1e6)
	return max(times(time.Millisecond, mean+r.y*sd)+r.pause, 0)
}

type expRule struct {
	factor float64 // means until dead
	size   int
}

// PhiExp is the accrual detector as Cassandra runs it: gaps are taken for
// exponential, so phi = t/mean/ln 10, and dead is a multiple of the mean. It
// starts from one gap of two intervals, and learns none that are longer.
// 4 bytes for each gap in the window, and 100, for each sender.
type PhiExp struct {
	rule     *expRule
	window   window
	interval time.Duration
}

// Learn takes in beats: of a batch, the mean gap.
func (p *PhiExp) Learn(b Beats) {
	if b.Interval != p.interval {
		p.interval = b.Interval
		p.window.reset(p.rule.size)
		p.window.add(2 * min(b.Interval, longest))
	}
	if gap := b.Span / time.Duration(min(max(b.Count, 1), math.MaxInt64)); gap <= 2*min(b.Interval, longest) {
		p.window.add(gap)
	}
}

// Dead is the silence after which the sender is dead.
func (p *PhiExp) Dead(interval time.Duration) time.Duration {
	if interval != p.interval {
		return times(2*min(interval, longest), p.rule.factor)
	}
	return times(time.Millisecond, p.rule.factor*float64(p.window.sum)/float64(len(p.window.gaps)))
}
