package spool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func TestBase(t *testing.T) {
	for program, want := range map[string]string{
		"redis-server":           "redis-server_7_20260301T000000Z",
		"a/b c":                  "a_b_c_7_20260301T000000Z",
		"-rf":                    "_rf_7_20260301T000000Z",
		"..":                     "_._7_20260301T000000Z",
		"":                       "__7_20260301T000000Z",
		"x_9_20260301T000000Z":   "x_9_20260301T000000Z_7_20260301T000000Z",
		strings.Repeat("n", 300): strings.Repeat("n", 128) + "_7_20260301T000000Z",
	} {
		base := Base(program, 7, day)
		if base != want {
			t.Errorf("Base(%q) = %q, want %q", program, base, want)
		}
		for _, suffix := range Suffixes {
			got, _, pid, at, ok := parts(base + suffix)
			if !ok || got != base || pid != 7 || !at.Equal(day) {
				t.Errorf("parts(%q): %q, %d, %v, %v", base+suffix, got, pid, at, ok)
			}
		}
	}
}

func TestStrangersNames(t *testing.T) {
	for _, name := range []string{
		"", ".core", "a.core", "a_7.core", "a_7_20260301T000000Z", "a_7_20260301T000000Z.txt", "a_07_20260301T000000Z.core",
		"a_+7_20260301T000000Z.core", "a_7_20260231T000000Z.core", "a b_7_20260301T000000Z.core", "-a_7_20260301T000000Z.core",
		"a_7_20260301T000000Z.core.core", "_7_20260301T000000Z.core", ".a_7_20260301T000000Z.core", "a_-7_20260301T000000Z.core",
	} {
		if _, _, _, _, ok := parts(name); ok {
			t.Errorf("%q passes for one of ours", name)
		}
	}
}

func FuzzParts(f *testing.F) {
	f.Add("a_7_20260301T000000Z.core")
	f.Fuzz(func(t *testing.T, name string) {
		base, program, pid, at, ok := parts(name)
		if ok && (Base(program, pid, at) != base || strings.ContainsAny(name, "/\x00") || name[0] == '.' || name[0] == '-') {
			t.Errorf("parts(%q)", name)
		}
	})
}

func entry(program string, uid, second int, disk int64) Entry {
	at := day.Add(time.Duration(second) * time.Second)
	return Entry{Base: Base(program, second+1, at), Program: program, PID: second + 1, Time: at, UID: uid, Disk: disk}
}

func seconds(entries []Entry) (s []int) {
	for _, e := range entries {
		s = append(s, e.PID-1)
	}
	return s
}

func TestExcess(t *testing.T) {
	loop := func(program string, uid int, from, n int, disk int64) (e []Entry) {
		for i := range n {
			e = append(e, entry(program, uid, from+i, disk))
		}
		return e
	}
	for name, test := range map[string]struct {
		entries []Entry
		limits  Limits
		free    int64
		want    []int // seconds of those that go, in order
	}{
		"no limits":                       {loop("a", 1, 0, 9, 100), Limits{}, 0, nil},
		"none":                            {nil, Limits{1, 1, 1}, 0, nil},
		"keep":                            {loop("a", 1, 0, 4, 1), Limits{Keep: 2}, 0, []int{0, 1}},
		"keep, apart":                     {append(loop("a", 1, 0, 3, 1), loop("b", 1, 3, 2, 1)...), Limits{Keep: 2}, 0, []int{0}},
		"keep, users":                     {append(loop("a", 1, 0, 2, 1), loop("a", 2, 2, 2, 1)...), Limits{Keep: 2}, 0, nil},
		"bytes":                           {loop("a", 1, 0, 4, 10), Limits{KeepBytes: 25}, 0, []int{0, 1}},
		"free":                            {loop("a", 1, 0, 4, 10), Limits{KeepFree: 25}, 9, []int{0, 1}},
		"free enough":                     {loop("a", 1, 0, 4, 10), Limits{KeepFree: 25}, 25, nil},
		"the loop pays, not the only one": {append([]Entry{entry("b", 1, 0, 1000)}, loop("a", 1, 1, 5, 10)...), Limits{KeepBytes: 1030}, 0, []int{1, 2}},
		"the user pays who has the most":  {append([]Entry{entry("b", 1, 0, 50)}, entry("c1", 2, 1, 40), entry("c2", 2, 2, 40), entry("b", 1, 3, 5)), Limits{KeepBytes: 100}, 0, []int{1}},
		"only single ones: the oldest":    {[]Entry{entry("a", 1, 2, 10), entry("b", 1, 1, 10), entry("c", 1, 3, 10)}, Limits{KeepBytes: 20}, 0, []int{1}},
		"the newest stays":                {loop("a", 1, 0, 3, 1000), Limits{KeepBytes: 1}, 0, []int{0, 1}},
		"just free enough without them":   {loop("a", 1, 0, 3, 1000), Limits{KeepFree: 2000}, 0, []int{0, 1}},
		"it would not help":               {loop("a", 1, 0, 3, 1000), Limits{KeepFree: 2001}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(test.entries)
			if got := seconds(Excess(test.entries, test.limits, test.free)); !slices.Equal(got, test.want) {
				t.Errorf("%v go, want %v", got, test.want)
			}
			if !slices.EqualFunc(before, test.entries, func(a, b Entry) bool { return a.Base == b.Base }) {
				t.Error("the caller's list was changed")
			}
		})
	}
}

// A service that crashes in a loop, beside others that crash now and then, with
// the spool pruned after each: whatever the order, a program whose user has more
// than one program in the spool is never left without a capture by the loop.
func TestExcessIsFair(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		spool := []Entry{entry("rare", 1, 0, 500)}
		for i := 1; i < 200; i++ {
			e := entry("loop", 1, i, int64(r.IntN(100)))
			if r.IntN(20) == 0 {
				e = entry(fmt.Sprint("other", r.IntN(3)), 1, i, int64(r.IntN(100)))
			}
			spool = append(spool, e)
			gone := Excess(spool, Limits{Keep: 5, KeepBytes: 1000}, 0)
			spool = slices.DeleteFunc(spool, func(e Entry) bool {
				return slices.ContainsFunc(gone, func(g Entry) bool { return g.Base == e.Base })
			})
			if total(spool) > 1000 {
				t.Fatalf("seed %d: %d bytes", seed, total(spool))
			}
			if !slices.ContainsFunc(spool, func(e Entry) bool { return e.Program == "rare" }) {
				t.Fatalf("seed %d: the only capture of a program was pushed out at %d", seed, i)
			}
		}
	}
}
