// Package watch judges heartbeats: which sender is alive, which is silent for
// too long, and which cannot be judged at all.
//
// Core is pure: it is told what was read and when, and gives events. Watcher
// is the loop around it that reads directories and waits.
package watch

import "vigil/pkg/heartbeat"

// State is what the watcher makes of one id.
type State uint8

// The states, in the order of States.
const (
	Alive State = iota
	Degraded
	Failed
	Held
	Stopped
	Suspect
	Dead
	Unknown
)

// Row is one line of the contract between what is seen and what is said.
type Row struct {
	Name string
	Code int // of -once, as Nagios has them: OK, warning, critical, unknown
	When string

	rank   int                // of two states the one with the higher rank is worse
	status []heartbeat.Status // of a timely beat that give this state
}

// States is the table of states, indexed by State. What the exit codes mean,
// which status gives which state and what the manual says come from it.
//
// Of the codes, critical outranks unknown, and unknown outranks warning: what
// cannot be judged may be dead.
var States = [...]Row{
	Alive:    {"alive", 0, "the last beat says ok, or starting for no longer than the grace", 0, []heartbeat.Status{heartbeat.OK, heartbeat.Starting}},
	Degraded: {"degraded", 1, "the last beat says degraded, or starting for too long", 1, []heartbeat.Status{heartbeat.Degraded}},
	Failed:   {"failed", 2, "the last beat says error", 4, []heartbeat.Status{heartbeat.Error}},
	Held:     {"held", 0, "a valid hold excuses it, whatever the last beat says", 0, nil},
	Stopped:  {"stopped", 0, "the last beat says stopping", 0, []heartbeat.Status{heartbeat.Stopping}},
	Suspect:  {"suspect", 1, "silent for longer than the time to suspect", 2, nil},
	Dead:     {"dead", 2, "silent for longer than the deadline; or expected, and never seen or stopped for too long", 5, nil},
	Unknown:  {"unknown", 3, "never seen to beat, unreadable, or this program itself was stalled", 3, nil},
}

// String gives the word that is shown.
func (s State) String() string { return States[s].Name }

// Worse tells whether s is worse than t.
func (s State) Worse(t State) bool { return States[s].rank > States[t].rank }

// stateOf is the state that a timely beat with this status gives. A sender that
// says held is believed by those who see the hold; the others judge its silence.
func stateOf(status heartbeat.Status) State {
	for s, row := range States {
		for _, have := range row.status {
			if have == status {
				return State(s)
			}
		}
	}
	return Alive
}
