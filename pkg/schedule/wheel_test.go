package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestWheelDue(t *testing.T) {
	start := 1000 * time.Hour
	for _, tt := range []struct {
		name    string
		after   time.Duration // deadline, from the start
		earlier time.Duration // Advance to here finds nothing
		found   time.Duration // Advance to here finds it
	}{
		{"in the past", -time.Hour, 0, Slot},
		{"now", 0, 0, Slot},
		{"on a slot", 3 * Slot, 3*Slot - 1, 3 * Slot},
		{"within a slot", 3*Slot + 1, 4*Slot - 1, 4 * Slot},
		{"a turn away", wheelSlots * Slot, wheelSlots*Slot - 1, wheelSlots * Slot},
		{"a turn and a slot away", (wheelSlots + 1) * Slot, wheelSlots * Slot, (wheelSlots + 1) * Slot},
		{"far", 10 * time.Hour, 10*time.Hour - 1, 10 * time.Hour},
		{"found late", time.Second, 0, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWheel(start)
			w.Set(7, start+tt.after)
			if due := w.Advance(start+tt.earlier, nil); len(due) != 0 {
				t.Errorf("found %v before it was due", due)
			}
			if due := w.Advance(start+tt.found, nil); !slices.Equal(due, []int32{7}) {
				t.Errorf("found %v", due)
			}
			if at, ok := w.Next(); ok {
				t.Errorf("still armed for %v", at)
			}
		})
	}
}

func TestWheelNext(t *testing.T) {
	w := NewWheel(0)
	if _, ok := w.Next(); ok {
		t.Error("an empty wheel has a deadline")
	}
	w.Set(0, 40*Slot)
	w.Set(1, 900*Slot)
	if at, _ := w.Next(); at != 40*Slot {
		t.Errorf("next %v", at)
	}
	w.Cancel(0)
	w.Cancel(0)
	w.Cancel(99)
	if at, _ := w.Next(); at != 900*Slot {
		t.Errorf("next %v after Cancel", at)
	}
	w.Set(1, 3*Slot) // again: only the last one counts
	if at, _ := w.Next(); at != 3*Slot {
		t.Errorf("next %v after a second Set", at)
	}
	if due := w.Advance(2000*Slot, nil); !slices.Equal(due, []int32{1}) {
		t.Errorf("found %v", due)
	}
}

// TestWheelRandom holds the wheel against a plain map, sleeping from Next to
// Next: nothing may come early, nor later than a slot.
func TestWheelRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	now := 77 * time.Minute
	w := NewWheel(now)
	want := map[int32]time.Duration{}
	for step := range 20000 {
		key := int32(rnd.IntN(300))
		switch rnd.IntN(5) {
		case 0:
			w.Cancel(key)
			delete(want, key)
		case 1, 2:
			due := now + time.Duration(rnd.Int64N(int64(3*time.Minute)))
			w.Set(key, due)
			want[key] = due
		default:
			next, ok := w.Next()
			if ok != (len(want) > 0) {
				t.Fatalf("step %d: next %v, %d armed", step, ok, len(want))
			}
			for key, due := range want {
				if due+Slot <= next && due+Slot <= now {
					t.Fatalf("step %d: key %d was due at %v, next is %v", step, key, due, next)
				}
			}
			now = max(now, next) + time.Duration(rnd.Int64N(int64(2*Slot)))
			for _, key := range w.Advance(now, nil) {
				due, ok := want[key]
				if !ok || due > now {
					t.Fatalf("step %d: key %d found at %v, due at %v", step, key, now, due)
				}
				delete(want, key)
			}
			for key, due := range want {
				if due <= now-Slot {
					t.Fatalf("step %d: key %d, due at %v, not found at %v", step, key, due, now)
				}
			}
		}
	}
}

func BenchmarkWheel(b *testing.B) {
	const n = 100_000
	w := NewWheel(0)
	for key := range int32(n) {
		w.Set(key, time.Duration(key)*time.Microsecond)
	}
	var due []int32
	visits := 0
	b.ResetTimer()
	for now := time.Duration(0); visits < b.N; now += Slot {
		due = w.Advance(now, due[:0])
		for _, key := range due {
			w.Set(key, now+5*time.Second)
			visits++
		}
	}
}
