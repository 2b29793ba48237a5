package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		spread, random float64
		want           time.Duration
	}{
		{0, 0.9, time.Second}, {0.1, 0, time.Second}, {0.1, 0.5, 1050 * time.Millisecond}, {1, 0.25, 1250 * time.Millisecond},
	} {
		if got := Jitter(time.Second, tt.spread, func() float64 { return tt.random }); got != tt.want {
			t.Errorf("spread %v, random %v: %v, want %v", tt.spread, tt.random, got, tt.want)
		}
	}
}

// Senders that start together are spread over the whole interval soon.
func TestJitterDrawsSendersApart(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const senders = 200
	var at [senders]time.Duration
	for range 300 {
		for i := range at {
			at[i] += Jitter(time.Second, 0.1, rnd.Float64)
		}
	}
	var tenth [10]int
	for _, a := range at {
		tenth[a%time.Second/(100*time.Millisecond)]++
	}
	for i, n := range tenth {
		if n < 5 || n > 50 {
			t.Errorf("%d of %d senders in tenth %d: %v", n, senders, i, tenth)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: 100 * time.Millisecond, Last: time.Second}
	for range 2 {
		for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			if got := b.Next(); got != want*time.Millisecond {
				t.Errorf("try %d: %v, want %v ms", i, got, int(want))
			}
		}
		for range 100 { // no overflow
			if got := b.Next(); got != time.Second {
				t.Fatalf("later: %v", got)
			}
		}
		b.Reset()
	}
}
