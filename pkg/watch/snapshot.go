package watch

import (
	"time"

	"vigil/pkg/heartbeat"
)

// Known is what is known of one id, for outputs.
type Known struct {
	ID       string
	State    State
	Beaten   bool          // a beat was accepted: Age, Interval and Seq count
	Age      time.Duration // since the last beat
	Interval time.Duration // that the sender declared; 0: none
	Timeout  time.Duration // the Age at which it is dead, holds aside
	Seq      uint64
}

// Snapshot is what is known of all ids at one time. It shares nothing with the
// Watcher.
type Snapshot struct {
	Wall     time.Time                    // when it was taken
	IDs      []Known                      // in no order
	Rejected [heartbeat.Future + 1]uint64 // contents not taken for beats so far, by heartbeat.Reason
}

// Snapshot copies into s what is known now, and uses the memory that s has.
// Call it from Options.Ticked.
func (w *Watcher) Snapshot(s *Snapshot) {
	now := w.now()
	s.Wall, s.Rejected = w.wall(), w.core.rejects
	s.IDs = s.IDs[:0]
	for i := range w.core.entries {
		e := w.core.entries[i]
		if e.id == "" || e.missing && !e.beaten && !e.expected {
			continue // forgotten, or about to be
		}
		dead, _ := w.core.deadlines(e)
		k := Known{ID: e.id, State: e.state, Timeout: dead}
		if e.beaten {
			k.Beaten, k.Age, k.Interval, k.Seq = true, max(now-e.heard(), 0), e.interval, e.seq
		}
		s.IDs = append(s.IDs, k)
	}
}

// StateOf is the state of one id, if it is known.
func (w *Watcher) StateOf(id string) (s State, known bool) {
	key, known := w.core.key(id)
	if known {
		s = w.core.entries[key].state
	}
	return s, known
}

// ticked tells of the end of a sweep that began at a time.
func (w *Watcher) ticked(began time.Duration) {
	if w.opt.Ticked != nil {
		now := w.now()
		w.opt.Ticked(w, now, now-began)
	}
}
