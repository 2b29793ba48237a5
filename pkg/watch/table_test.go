package watch

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestTable: a table is what a map would be, whatever comes and goes.
func TestTable(t *testing.T) {
	c := NewCore(Config{Boot: thisBoot}, nil, 0, func(Event) {})
	want := map[string]int32{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		id := strconv.Itoa(rnd.IntN(300))
		key, ok := c.key(id)
		if k, known := want[id]; ok != known || ok && k != key {
			t.Fatalf("%s: key %d, %v; want %d, %v", id, key, ok, k, known)
		}
		if ok {
			c.forget(key)
			delete(want, id)
		} else {
			want[id] = c.New(id, noSource, false, 0)
		}
	}
	for id, key := range want {
		if got, ok := c.key(id); !ok || got != key || c.entries[got].id != id {
			t.Errorf("%s: key %d, %v; want %d", id, got, ok, key)
		}
	}
	if c.ids.n != len(want) {
		t.Errorf("%d ids, want %d", c.ids.n, len(want))
	}
}
