package boottime

import (
	"testing"
	"time"
)

// TestAlarm: it sleeps as long as it should, and no longer than until done.
func TestAlarm(t *testing.T) {
	done := make(chan struct{})
	a, err := NewAlarm(done)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{-time.Second, 0, 1500 * time.Microsecond} {
		from := Now()
		a.Sleep(d)
		if slept := Now() - from; slept < d {
			t.Errorf("slept %v of %v", slept, d)
		}
	}
	time.AfterFunc(time.Millisecond, func() { close(done) })
	from := Now()
	a.Sleep(time.Hour)
	if slept := Now() - from; slept > time.Minute {
		t.Errorf("slept %v after it was done", slept)
	}
	a.Sleep(time.Hour) // done stays so
}
