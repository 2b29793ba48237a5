package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A fault is something that is done to one service, or to all: who is -1.
type fault struct {
	at, long time.Duration
	what     string
	who      int
	number   int64 // drawn for what else has to be chosen
}

const (
	slotLong  = 60 * time.Second // each holds one phase that concerns everybody
	calmUntil = 40 * time.Second // everything has started by then
	calmAfter = 80 * time.Second // what was done last has its time to be told
)

// silences and trifles are what is done to single services: what may kill, and
// what may not. A weight is how often.
var faults = []struct {
	what   string
	weight int
	only   func(s *service) bool
}{
	{"pause service", 4, anybody}, {"kill service", 4, anybody}, {"restart service", 3, anybody},
	{"hang service", 6, func(s *service) bool { return s.works }},
	{"crash service", 30, func(s *service) bool { return s.crashes }},
	{"pause sender", 3, anybody}, {"kill sender", 3, anybody}, {"restart sender", 3, anybody}, {"end sender", 2, anybody},
	{"hold", 3, anybody}, {"forget a hold", 3, anybody}, {"idle hold", 1, anybody},
	{"garble", 2, anybody}, {"remove", 1, anybody},
}

func anybody(*service) bool { return true }

// phases concern everybody; one of them in each slot of a minute.
var phases = []struct {
	what string
	long time.Duration
}{
	{"full run directory", 20 * time.Second}, {"full spool", 25 * time.Second}, {"full spool", 10 * time.Second},
	{"read-only", 20 * time.Second}, {"freeze", 15 * time.Second}, {"mass", 40 * time.Second},
}

// plan draws what will be done, from nothing but the random source.
func plan(r *rand.Rand, services []*service, length time.Duration) []fault {
	var all []fault
	add := func(f fault) { f.number = r.Int64(); all = append(all, f) }
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(r.Int64N(int64(b-a))) }

	var closed [][2]time.Duration // when nothing is done to single ones
	order := r.Perm(len(phases))
	slots := int((length - calmUntil - calmAfter) / slotLong)
	for n := range slots {
		begin := calmUntil + time.Duration(n)*slotLong
		// The watchers end and come back while there is room on the disk: who restarts
		// them is refused otherwise, and rightly so.
		add(fault{at: between(begin, begin+4*time.Second), long: between(time.Second, 6*time.Second), what: pick(r, "kill wdping", "end wdping", "pause wdping"), who: -1})
		if n*2 < slots {
			add(fault{at: between(begin+4*time.Second, begin+8*time.Second), long: between(0, 5*time.Second), what: pick(r, "kill hbwatch", "end hbwatch"), who: -1})
		}
		if n < len(order) {
			p := phases[order[n]]
			f := fault{at: between(begin+13*time.Second, begin+17*time.Second), long: p.long, what: p.what, who: -1}
			add(f)
			if p.what == "freeze" || p.what == "mass" {
				closed = append(closed, [2]time.Duration{f.at - 3*time.Second, f.at + f.long + 12*time.Second})
				continue
			}
		}
		add(fault{at: between(begin+20*time.Second, begin+50*time.Second), long: between(time.Second, 8*time.Second), what: "pause hbwatch", who: -1})
	}
	for at := calmUntil; at < length-calmAfter; at += between(20*time.Second, 60*time.Second) {
		add(fault{at: at, what: "step the clock", who: -1})
	}
	for at := calmUntil; at < length-calmAfter; at += between(10*time.Second, 30*time.Second) {
		add(fault{at: at, long: between(time.Second, 8*time.Second), what: pick(r, "kill diagfifo", "pause diagfifo"), who: -1})
	}
	for who, s := range services {
		for at := between(calmUntil, calmUntil+3*slotLong); at < length-calmAfter; {
			f := fault{at: at, what: draw(r, s), who: who}
			f.long = between(25*time.Second, 45*time.Second)
			if s.most > 30*time.Second {
				f.long += 55 * time.Second
			}
			if r.IntN(5) < 2 {
				f.long = between(time.Second/2, 6*time.Second)
			}
			free := !slices.ContainsFunc(closed, func(c [2]time.Duration) bool { return f.at < c[1] && f.at+f.long+30*time.Second > c[0] })
			if free && f.at+f.long < length-calmAfter {
				add(f)
			}
			at += f.long + between(60*time.Second, 220*time.Second)
		}
	}
	slices.SortStableFunc(all, func(a, b fault) int { return int(a.at - b.at) })
	return all
}

func draw(r *rand.Rand, s *service) string {
	var bag []string
	for _, f := range faults {
		for range f.weight {
			if f.only(s) {
				bag = append(bag, f.what)
			}
		}
	}
	return pick(r, bag...)
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }
