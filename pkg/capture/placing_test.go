package capture

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"vigil/pkg/procfs"
)

func TestPlacing(t *testing.T) {
	p := &placing{next: 0x10000}
	p.put(0x4000, 0x6000)
	p.put(0x3000, 0x8000) // around it
	p.put(0x5000, 0x7000) // within
	want := []place{{0x3000, 0x4000, 0x12000}, {0x4000, 0x6000, 0x10000}, {0x6000, 0x8000, 0x13000}}
	if !reflect.DeepEqual(p.places, want) || p.next != 0x15000 {
		t.Errorf("%x, next %x", p.places, p.next)
	}
	img := &image{}
	p.show(img, procfs.Mapping{Start: 0x2000, End: 0x5000, Perm: "rw-p"}, 0x3000, populated)
	var cleared uint64
	if err := p.unshown(img, func(_, size uint64) error { cleared += size; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(img.segments) != 3 || img.segments[0].FileSize != 0 || img.segments[1].Offset != 0x12000 || img.segments[2].FileSize != 0x1000 || cleared != 0x3000 {
		t.Errorf("%+v, cleared %x", img.segments, cleared)
	}
}

// Every address has one place, the same for ever, and no two share an offset.
func TestPlacingAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	p := &placing{}
	seen := map[uint64]uint64{}
	for range 2000 {
		start := random.Uint64N(500)
		end := start + 1 + random.Uint64N(20)
		p.put(start, end)
		next := start
		p.each(start, end, func(a, b, at uint64) error {
			if a != next {
				t.Fatalf("%d has no place", next)
			}
			for ; a < b; a, at = a+1, at+1 {
				if old, ok := seen[a]; ok && old != at {
					t.Fatalf("%d moved from %d to %d", a, old, at)
				}
				seen[a] = at
			}
			next = b
			return nil
		})
		if next != end {
			t.Fatalf("%d has no place", next)
		}
	}
	used := map[uint64]bool{}
	for _, at := range seen {
		if used[at] || at >= p.next {
			t.Fatalf("offset %d, used before or behind the end %d", at, p.next)
		}
		used[at] = true
	}
}

func TestPrediction(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name            string
		l               load
		pages           uint64
		precopyIsBetter bool
	}{
		{"small", load{small: 16 << 20}, fewPages, false},
		{"1 GiB", load{small: gib}, fewPages, true},
		{"4 GiB", load{small: 4 * gib}, fewPages, true},
		{"1 GiB, written fast", load{small: gib}, 100000, false},
	} {
		if got := precopyPause(c.l.small+c.l.huge, c.pages, 1) < c.l.forkPause(); got != c.precopyIsBetter {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if a, b := precopyPause(gib, 10, 2), precopyPause(4*gib, 10, 2); b > 2*a || a < time.Millisecond {
		t.Errorf("1 GiB %v, 4 GiB %v", a, b)
	}
}
