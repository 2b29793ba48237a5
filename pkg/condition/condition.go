// Package condition judges whether what a program depends on is well: a
// heartbeat or another file that keeps changing, a process that exists, a file
// that is there or is not, a program that says so, lines that keep coming. hbsend and
// wdping know the same words for it.
//
// Looking may block, on a file system that hangs; judging never does, and takes
// the time as an argument. A program that must not be late calls Judge from a
// goroutine of its own and lets old verdicts expire.
package condition

import (
	"sync"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/hold"
)

// State is what a condition comes to.
type State uint8

// The states, from best to worst.
const (
	Holds   State = iota
	Held          // excused by a hold
	Waiting       // has not held yet, and its grace is not over
	Fails
)

// Clock is one reading of the clocks.
type Clock struct {
	Boot      time.Duration // CLOCK_BOOTTIME, to judge by
	Suspended time.Duration // the part of Boot that the machine was suspended
	WallNS    int64         // nanoseconds since 1970, only to guess at what was before the first look
}

// Verdict is one condition as it stood at one look.
type Verdict struct {
	ID     string
	State  State
	Reason string // why it does not hold, or who holds it
	Once   bool   // it has held at least once
}

// Holder tells whether a hold excuses id at now. *hold.Reader is one.
type Holder interface {
	Active(id string, now time.Duration) (hold.Lease, bool)
}

// A probe looks at one thing. A fault is permanent as far as the operator's
// set-up goes: nobody but a person mends it.
type probe interface {
	// look gives "" when the condition holds, else why it does not. It reads
	// the clock after it has looked: a record is never from after that. What
	// says that it is starting may do so for grace.
	look(clock func() Clock, grace time.Duration) string
	// check refuses what must not be relied on, at the start.
	check() error
	// renew lets the clock start afresh at now.
	renew(now time.Duration)
}

type entry struct {
	id    string
	probe probe
	once  bool
	held  bool          // at the last look
	since time.Duration // from when on the grace counts
}

// Set is the conditions of one program in the order they were given. Its zero
// value has none. Not for concurrent use, but for Close.
type Set struct {
	// Warn hears what a person should know of the memory of -state. It may be nil.
	Warn func(text string)

	busy      sync.Mutex // held by Judge
	entries   []*entry
	memory    memory
	started   bool
	suspended time.Duration
}

// Len is the number of conditions.
func (s *Set) Len() int { return len(s.entries) }

// Has tells whether a condition bears the id.
func (s *Set) Has(id string) bool {
	for _, e := range s.entries {
		if e.id == id {
			return true
		}
	}
	return false
}

// Check refuses what everybody could forge: a file that is there and
// writable for all, a heartbeat in a directory that rundir does not trust. A
// file that is not there yet is none of its business. Later such a condition
// merely does not hold. A program has to be there, though. An error is a
// *cli.UsageError where the call is to blame. Check opens the memory of -state, if
// there is one: who has called it calls Close at the end.
func (s *Set) Check() error {
	for _, e := range s.entries {
		if err := e.probe.check(); err != nil {
			return err
		}
	}
	if s.memory.path == "" {
		return nil
	}
	for _, e := range s.entries {
		if _, ok := e.probe.(recalled); ok {
			return s.recall()
		}
	}
	return cli.Usagef("-state: goes with -fresh: there is nothing else to remember")
}

// Close ends the programs of -check that still run, within some seconds, and saves what
// is to be remembered, unless a Judge hangs.
func (s *Set) Close() {
	for _, e := range s.entries {
		if p, ok := e.probe.(*checkProbe); ok {
			p.close()
		}
	}
	if s.busy.TryLock() {
		defer s.busy.Unlock()
		if s.memory.keep != nil {
			s.save(0, true)
			s.memory.keep.Close()
			s.memory.keep = nil
		}
	}
}

func (s *Set) warn(text string) {
	if s.Warn != nil {
		s.Warn(text)
	}
}

// Judge looks at every condition. One that never held is Waiting for grace from
// the first call on. An id that holder excuses is not looked at; when that
// ends, and after a suspend, its clock and its grace start afresh. holder may
// be nil. The verdicts are valid until the next call.
func (s *Set) Judge(clock func() Clock, holder Holder, grace time.Duration) []Verdict {
	s.busy.Lock()
	defer s.busy.Unlock()
	c := clock()
	slept := s.started && c.Suspended-s.suspended > time.Second
	verdicts := make([]Verdict, 0, len(s.entries))
	for _, e := range s.entries {
		if !s.started {
			e.since = c.Boot
		}
		verdicts = append(verdicts, e.judge(c.Boot, clock, holder, grace, slept))
	}
	s.started, s.suspended = true, c.Suspended
	s.save(c.Boot, false)
	return verdicts
}

func (e *entry) judge(now time.Duration, clock func() Clock, holder Holder, grace time.Duration, slept bool) Verdict {
	if holder != nil {
		if l, ok := holder.Active(e.id, now); ok {
			e.held = true
			if p, ok := e.probe.(*checkProbe); ok {
				p.pause()
			}
			return Verdict{e.id, Held, fmt.Sprintf("held by %s: %s", l.By, l.Reason), e.once}
		}
	}
	if e.held || slept {
		e.held, e.since = false, now
		e.probe.renew(now)
	}
	reason := e.probe.look(clock, grace)
	switch {
	case reason == "":
		e.once = true
		return Verdict{e.id, Holds, "", true}
	case !e.once && now-e.since < grace:
		return Verdict{e.id, Waiting, reason, false}
	}
	return Verdict{e.id, Fails, reason, e.once}
}

// Sum gives the verdict that decides for all: the first of the worst. ready says
// that each has held at least once.
func Sum(verdicts []Verdict) (worst Verdict, ready bool) {
	ready = true
	for _, v := range verdicts {
		if v.State > worst.State {
			worst = v
		}
		ready = ready && v.Once
	}
	return worst, ready
}
