package main

import "slices"

// What the man pages promise, and what is allowed for a machine that does a lot.
const (
	jitter   = 1.1        // of an interval: the longest wait for a beat
	breath   = int64(700) // that a program may take to be run
	look     = int64(5000)
	slack    = int64(5000) // mass failure waits one interval, a look comes within a second
	holdSeen = int64(2000)
)

// lastBeat is how long before a silence the last beat may have been.
func (s *subject) lastBeat() int64 { return int64(float64(s.Interval)*jitter) + breath }

// tail is for how long beats may go on when a cause of silence has begun.
func (s *subject) tail(cause string) int64 {
	if s.Works && cause == "hang service" {
		return s.Patience + s.lastBeat()
	}
	return 0
}

// recover is how long the first beat may take once nothing keeps it back: a
// service that works has to work first.
func (s *subject) recover() int64 {
	if s.Works {
		return s.lastBeat() + 2500
	}
	return s.lastBeat()
}

// fresh is when a clock that began at the time from begins last: at the end of a
// hold that excused it.
func (s *subject) fresh(from, until int64) int64 {
	for _, h := range s.holds {
		if h.from <= until && h.to > from {
			from = h.to
		}
	}
	return from
}

// late is how much later a verdict may come that would have been due at a time:
// the watcher did not run, and gives everybody one more deadline afterwards.
func (h *history) late(from, due, deadline int64) int64 {
	for _, list := range [][]span{h.outs["hbwatch"], h.stalls, h.lags} {
		for _, o := range list {
			if o.meets(from-deadline, due) {
				due += o.to - o.from + deadline
			}
		}
	}
	return due
}

// A silence is due when a death has to be told of it; it is long enough for that
// or not.
func (h *history) due(s *subject, silence span) int64 {
	begun := s.fresh(silence.from, silence.to) + s.tail(silence.what)
	held := int64(0)
	if begun > silence.from {
		held = holdSeen
	}
	return h.late(silence.from, begun+s.Most+slack+held, s.Most)
}

// deaths compares silences with what was told of them, both ways.
func (h *history) deaths() {
	var due, told, needless, back int
	var after []int64 // beyond the shortest deadline
	for _, id := range h.ids {
		s := h.subjects[id]
		for n, silence := range s.silences {
			died := s.first(silence.from, silence.to+s.recover(), (*event).death)
			must := h.due(s, silence)
			if must < silence.to {
				due++
				if died == nil || died.bt > must {
					h.find("missed death", "%s is silent from %d to %d (%s): not told by %d", id, silence.from, silence.to, silence.what, must)
				}
			}
			if died == nil {
				continue
			}
			told++
			if died.To == "dead" && s.fresh(silence.from, silence.to) == silence.from {
				after = append(after, died.bt-silence.from-s.Least)
			}
			if h.returns(s, n) {
				back++
			}
		}
		for i := range s.events {
			if e := &s.events[i]; e.death() {
				if why := h.wrong(s, e); why != "" {
					needless++
					h.find("false death", "%s is %s at %d: %s: %s", id, e.To, e.bt, why, e.line)
				}
			}
		}
	}
	slices.Sort(after)
	h.figure("deaths due", "%d", due)
	h.figure("deaths told", "%d", told)
	h.figure("false deaths", "%d", needless)
	h.figure("returns told", "%d", back)
	if len(after) > 0 {
		h.figure("told, ms from the deadline", "median %d, latest %d", after[len(after)/2], after[len(after)-1])
	}
}

// first is the first event in a time that is as wanted.
func (s *subject) first(from, to int64, wanted func(*event) bool) *event {
	for i := range s.events {
		if e := &s.events[i]; e.bt >= from && e.bt <= to && wanted(e) {
			return e
		}
	}
	return nil
}

// returns sees whether somebody who was told dead is told alive again, when
// there is time for it before the next trouble.
func (h *history) returns(s *subject, n int) bool {
	from := s.silences[n].to
	must := h.late(from, from+s.recover()+look+slack, 2*s.Interval)
	for _, other := range s.silences[n+1:] {
		if other.from < must {
			return false
		}
	}
	if meets(s.holds, from, must) || must > h.last {
		return false
	}
	// What came last before may have told it already.
	state := ""
	for i := range s.events {
		if e := &s.events[i]; e.bt <= must && e.Event == "transition" {
			state = e.To
		}
	}
	if state == "dead" || state == "failed" || state == "suspect" {
		h.find("missed life", "%s beats again from %d, and is still %s at %d", s.ID, from, state, must)
		return false
	}
	return true
}

// wrong says why a death should not have been told.
func (h *history) wrong(s *subject, e *event) string {
	if e.To == "dead" && e.Deadline < s.Least {
		return "the deadline is too short"
	}
	for _, hold := range s.holds {
		if e.bt > hold.from+breath && e.bt < hold.to {
			return "it is held"
		}
		if e.To == "dead" && e.bt >= hold.to && e.bt < hold.to+s.Least-breath {
			return "its clock began afresh when the hold ended"
		}
	}
	if e.To == "failed" {
		// The status error is read within the look, or when the watcher is back.
		if meets(s.downs, h.early(e.bt-look-s.lastBeat()-breath, e.bt), e.bt) {
			return ""
		}
		return "its process was there"
	}
	for _, o := range h.outs["hbwatch"] {
		paused := o.what == "pause hbwatch" || o.what == "freeze"
		if paused && e.bt > o.from+breath && e.bt < o.to+s.Interval*3/2-breath && !s.judged(e, o.from) {
			return "the watcher did not run; everybody has one and a half intervals first"
		}
	}
	for _, silence := range s.silences {
		if silence.from <= e.bt-s.Least+s.lastBeat() && silence.to >= e.bt-s.recover() {
			return ""
		}
	}
	for _, lag := range h.lags {
		if lag.meets(e.bt-s.Least, e.bt) {
			return ""
		}
	}
	return "it was not silent for so long"
}

// judged tells whether a death that was told after a time can have been found
// before it: the watcher may be stopped between its verdict and the telling. The
// age that it gives is then that of before.
func (s *subject) judged(e *event, before int64) bool {
	return slices.ContainsFunc(s.silences, func(o span) bool { return o.from-s.lastBeat()+e.Age <= before+breath })
}

// early moves a time back by what the watcher did not run from then on.
func (h *history) early(from, to int64) int64 {
	for _, o := range h.outs["hbwatch"] {
		if o.meets(from, to) {
			from = min(from, o.from-look)
		}
	}
	return from
}

// holds sees whether each hold was told of, and its end.
func (h *history) holds() {
	taken, forgotten, told := 0, 0, 0
	for _, id := range h.ids {
		s := h.subjects[id]
		for _, hold := range s.holds {
			taken++
			if hold.what == "ran out" {
				forgotten++
			}
			for _, want := range []struct {
				event string
				at    int64
			}{{"hold", hold.from}, {"hold_end", hold.to}} {
				if h.excused(want.at-look, want.at+look) || hold.to-hold.from < holdSeen {
					continue
				}
				told++
				if s.first(want.at-1000, want.at+holdSeen+breath, func(e *event) bool { return e.Event == want.event }) == nil {
					h.find("missed hold", "%s: no event %s about %d", id, want.event, want.at)
				}
			}
		}
	}
	h.figure("holds", "%d, forgotten %d, refused for lack of room %d; beginnings and ends told %d", taken, forgotten, h.refused, told)
}

// excused tells whether the watcher, or the machine, did not run in a time.
func (h *history) excused(from, to int64) bool {
	return meets(h.outs["hbwatch"], from, to) || meets(h.stalls, from, to) || meets(h.lags, from, to)
}
