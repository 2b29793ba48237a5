package schedule

import "time"

// Jitter is the wait before the next beat: interval plus a uniform share of
// spread·interval. It never comes early, so a declared interval is a promise;
// and many senders started together drift apart. random gives a number in
// [0,1), as rand.Float64 does.
func Jitter(interval time.Duration, spread float64, random func() float64) time.Duration {
	return interval + time.Duration(random()*spread*float64(interval))
}

// Backoff is the wait between tries of something that fails: it doubles from
// First to Last. The zero count is the state after a success. Not for
// concurrent use.
type Backoff struct {
	First, Last time.Duration
	tries       uint
}

// Next is the wait before the next try.
func (b *Backoff) Next() time.Duration {
	wait := b.Last
	if b.tries < 32 {
		wait = min(b.Last, b.First<<b.tries)
		b.tries++
	}
	return wait
}

// Reset starts over, after a success.
func (b *Backoff) Reset() { b.tries = 0 }
