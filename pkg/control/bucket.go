package control

import (
	"sync"
	"time"
)

// bucket admits rate commands a second on the long run, and twice that many at
// once. A rate of 0 admits everything. Safe for concurrent use.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	at     time.Duration
}

func newBucket(rate float64, now time.Duration) *bucket {
	return &bucket{rate: rate, tokens: 2 * rate, at: now}
}

func (b *bucket) take(now time.Duration) bool {
	if b.rate == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(2*b.rate, b.tokens+b.rate*(now-b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
