package detector

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestChenByTheFormula keeps all arrivals and computes the expected arrival as
// the paper writes it.
func TestChenByTheFormula(t *testing.T) {
	for _, size := range []int{2, 3, 10, 100} {
		rnd := rand.New(rand.NewPCG(1, uint64(size)))
		d := &Chen{rule: &chenRule{alpha: 2, size: size}}
		type beat struct{ at, seq float64 }
		beats := []beat{{0, 1}}
		for range 500 {
			count := 1 + rnd.Uint64N(3)
			span := time.Duration(count)*s + time.Duration(rnd.Int64N(400))*ms
			d.Learn(Beats{Interval: s, Count: count, Span: span, Gap: span / time.Duration(count)})
			last := beats[len(beats)-1]
			beats = append(beats, beat{last.at + span.Seconds(), last.seq + float64(count)})
			if len(beats) > size {
				beats = beats[1:]
			}
			first, newest := beats[0], beats[len(beats)-1]
			period := (newest.at - first.at) / (newest.seq - first.seq)
			sum := 0.0
			for _, b := range beats {
				sum += b.at - period*b.seq
			}
			expected := sum/float64(len(beats)) + (newest.seq+1)*period
			want := max(expected-newest.at, 0) + 2
			if got := d.Dead(s).Seconds(); got < want-1e-6 || got > want+1e-6 {
				t.Fatalf("window %d: dead %v s after the last beat, want %v", size, got, want)
			}
		}
	}
}

func TestChen(t *testing.T) {
	d := build(t, "chen")
	expect := func(want time.Duration) {
		t.Helper()
		if got := d.Dead(s); got < want-ms || got > want+ms {
			t.Errorf("dead after %v, want %v", got, want)
		}
	}
	expect(5 * s)
	for range 50 {
		d.Learn(one(1100 * ms)) // its period is not what it declares
	}
	expect(5100 * ms)
	d.Learn(Beats{Interval: s, Count: 5, Span: 5500 * ms, Gap: 1100 * ms}) // sampled: the same rhythm
	expect(5100 * ms)
	d.Learn(one(outage*s + ms)) // an outage: all starts again
	expect(5 * s)
	d.Learn(one(1200 * ms))
	expect(5200 * ms)
	if got := d.Dead(10 * s); got != 50*s {
		t.Errorf("another interval: dead after %v", got)
	}
}
