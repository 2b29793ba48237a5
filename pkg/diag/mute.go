package diag

import (
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
)

// muteMost bounds how long heartbeats may be withheld.
const muteMost = time.Hour

// A Mute withholds the heartbeats of a program for a while, to see whether
// anybody notices. The program asks Muted before each beat. The zero Mute is
// ready, and may be used concurrently; it must not be copied.
type Mute struct {
	until atomic.Int64 // CLOCK_BOOTTIME, nanoseconds
}

// Muted says whether a beat is to be withheld now.
func (m *Mute) Muted() bool { return m.left(boottime.Now()) > 0 }

func (m *Mute) left(now time.Duration) time.Duration {
	return max(0, time.Duration(m.until.Load())-now)
}

// Verb makes the verb disable-heartbeat:
//
//	disable-heartbeat for=DURATION
//
// for=0s lets the heart beat again. It does so by itself when the time is over,
// an hour at most.
func (m *Mute) Verb() Verb {
	return Verb{
		Name: "disable-heartbeat", Admin: true, Run: m.run,
		Keys: []Key{{Name: "for", Hint: "DURATION", Required: true}},
		Help: "withhold the heartbeats for a time, to see who notices",
	}
}

func (m *Mute) run(c Call) (r Reply, err error) {
	span, err := time.ParseDuration(c.Get("for"))
	if err != nil || span < 0 || span > muteMost {
		return r, Usagef("for %s: want a time from 0s to %v", c.Get("for"), muteMost)
	}
	m.until.Store(int64(boottime.Now() + span))
	r.Add("left_ms", m.left(boottime.Now()).Milliseconds())
	return r, nil
}
