package sender

import (
	"time"

	"vigil/pkg/boottime"
)

// RealClock is the machine's time.
type RealClock struct{}

// Now is the time since boot, suspend included.
func (RealClock) Now() time.Duration { return boottime.Now() }

// Wall is the time of day in milliseconds since 1970.
func (RealClock) Wall() int64 { return time.Now().UnixMilli() }

// Sleep waits for d or until done is closed. AfterFunc, not NewTimer: a channel
// of times drags the whole of time zones into the binary.
func (RealClock) Sleep(d time.Duration, done <-chan struct{}) {
	over := make(chan struct{})
	t := time.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	select {
	case <-over:
	case <-done:
	}
}
