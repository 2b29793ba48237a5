package sender

import (
	"time"

	"vigil/pkg/boottime"
)

// RealClock is the machine's time. Not for concurrent use.
type RealClock struct {
	// Functions, not a *time.Timer: as a part of something that becomes a Clock
	// its channel of times drags the whole of time zones into the binary.
	reset func(d time.Duration)
	over  chan struct{}
}

// NewClock makes one.
func NewClock() *RealClock {
	c := &RealClock{over: make(chan struct{}, 1)}
	// The room for one token makes a timer that fires late, for a Sleep that has
	// ended otherwise, harmless.
	timer := time.AfterFunc(time.Hour, func() {
		select {
		case c.over <- struct{}{}:
		default:
		}
	})
	c.reset = func(d time.Duration) { timer.Reset(d) }
	return c
}

// Now is the time since boot, suspend included.
func (c *RealClock) Now() time.Duration { return boottime.Now() }

// Wall is the time of day in milliseconds since 1970.
func (c *RealClock) Wall() int64 { return time.Now().UnixMilli() }

// Sleep waits for d or until done is closed. It may end early.
func (c *RealClock) Sleep(d time.Duration, done <-chan struct{}) {
	c.reset(d)
	select {
	case <-c.over:
	case <-done:
	}
}
