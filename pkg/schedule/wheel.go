// Package schedule decides when something is to be done next. It reads no
// clock and draws no random number: both are arguments.
package schedule

import (
	"math/bits"
	"time"
)

// Slot is the grain of a Wheel: what is due is found at most this much later.
const Slot = 50 * time.Millisecond

// wheelSlots is a power of two. One turn is 51.2 s: longer than most deadlines,
// so that few entries are passed over, and short enough for a small array.
const wheelSlots = 1024

// Wheel holds deadlines, one for each key, and tells which have passed. Set and
// Cancel cost the same for a hundred thousand deadlines as for one; deadlines
// more than a turn away stay where they are until their turn comes. Keys are
// small numbers from 0, such as indices of a slice: memory grows with the
// largest.
//
// Times are readings of one clock that never goes back. Not for concurrent use.
type Wheel struct {
	entries []wheelEntry
	head    [wheelSlots]int32 // key+1 of the first entry of each slot; 0: none
	used    [wheelSlots / 64]uint64
	tick    int64 // slots up to this one have been emptied of what was due
}

// wheelEntry is armed while tick is not 0.
type wheelEntry struct {
	tick       int64
	next, prev int32 // key+1; 0: none
}

// NewWheel makes an empty wheel that starts at now.
func NewWheel(now time.Duration) *Wheel {
	return &Wheel{tick: int64(now / Slot)}
}

// Set arms key for due, whether or not it was armed. What is due already is
// found by the next Advance that comes a slot later than the last one.
func (w *Wheel) Set(key int32, due time.Duration) {
	for int(key) >= len(w.entries) {
		w.entries = append(w.entries, wheelEntry{})
	}
	w.Cancel(key)
	tick := max(int64((due+Slot-1)/Slot), w.tick+1)
	slot := tick % wheelSlots
	first := w.head[slot]
	w.entries[key] = wheelEntry{tick: tick, next: first}
	if first != 0 {
		w.entries[first-1].prev = key + 1
	}
	w.head[slot] = key + 1
	w.used[slot/64] |= 1 << (slot % 64)
}

// Cancel disarms key, if it is armed.
func (w *Wheel) Cancel(key int32) {
	if int(key) >= len(w.entries) || w.entries[key].tick == 0 {
		return
	}
	e := &w.entries[key]
	slot := e.tick % wheelSlots
	if e.next != 0 {
		w.entries[e.next-1].prev = e.prev
	}
	if e.prev != 0 {
		w.entries[e.prev-1].next = e.next
	} else {
		w.head[slot] = e.next
		if e.next == 0 {
			w.used[slot/64] &^= 1 << (slot % 64)
		}
	}
	*e = wheelEntry{}
}

// Next tells when to call Advance again; ok is false when nothing is armed. A
// deadline more than a turn away may be announced a whole number of turns
// early.
func (w *Wheel) Next() (at time.Duration, ok bool) {
	for ahead := int64(1); ahead <= wheelSlots; {
		slot := (w.tick + ahead) % wheelSlots
		rest := w.used[slot/64] >> (slot % 64)
		if rest == 0 {
			ahead += 64 - slot%64
			continue
		}
		ahead += int64(bits.TrailingZeros64(rest))
		return time.Duration(w.tick+ahead) * Slot, true
	}
	return 0, false
}

// Advance appends to due the keys whose deadline has passed at now, in no
// particular order, and disarms them.
func (w *Wheel) Advance(now time.Duration, due []int32) []int32 {
	to := int64(now / Slot)
	// After a long pause every slot is looked at once.
	for t := max(w.tick+1, to-wheelSlots+1); t <= to; t++ {
		for key := w.head[t%wheelSlots]; key != 0; {
			e := w.entries[key-1]
			if e.tick <= to {
				w.Cancel(key - 1)
				due = append(due, key-1)
			}
			key = e.next
		}
	}
	w.tick = max(w.tick, to)
	return due
}
