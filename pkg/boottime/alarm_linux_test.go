package boottime

import (
	"testing"
	"time"
)

// TestAlarm: it sleeps as long as it should, and no longer than until done.
func TestAlarm(t *testing.T) {
	done := make(chan struct{})
	ring := make(chan struct{}, 1)
	a, err := NewAlarm(done, ring)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{-time.Second, 0, 1500 * time.Microsecond} {
		from := Now()
		if a.Sleep(d) {
			t.Errorf("rung")
		}
		if slept := Now() - from; slept < d {
			t.Errorf("slept %v of %v", slept, d)
		}
	}
	ring <- struct{}{}
	if from := Now(); !a.Sleep(time.Hour) || Now()-from > time.Minute {
		t.Errorf("slept %v, with a token", Now()-from)
	}
	if a.Sleep(time.Millisecond) {
		t.Error("rung again")
	}
	time.AfterFunc(time.Millisecond, func() { close(done) })
	from := Now()
	a.Sleep(time.Hour)
	if slept := Now() - from; slept > time.Minute {
		t.Errorf("slept %v after it was done", slept)
	}
	a.Sleep(time.Hour) // done stays so
}
