package watchdog

import (
	"time"

	"vigil/pkg/condition"
	"vigil/pkg/fmt"
	"vigil/pkg/hold"
)

// states are the words for what the feeder does, by condition.State.
var states = [...]string{
	condition.Holds: "feeding", condition.Held: "held", condition.Waiting: "waiting", condition.Fails: "starving",
}

func describe(v condition.Verdict) string {
	if v.ID == "" {
		return v.Reason
	}
	return v.ID + ": " + v.Reason
}

// stateEvent tells what the feeder does from now on, and why.
func (r *runner) stateEvent(v condition.Verdict) Event {
	text := states[v.State]
	switch {
	case !r.DryRun:
	case v.State == condition.Fails:
		text = "would starve"
	case v.State != condition.Waiting:
		text = "would ping"
	}
	if why := describe(v); why != "" {
		text += ": " + why
	} else {
		text += ": all conditions hold"
	}
	return Event{
		Name: states[v.State], ID: v.ID, Reason: v.Reason,
		DryRun: r.DryRun, Text: text, Grave: v.State == condition.Fails,
	}
}

// holdEvents are the words for what happens to a hold.
var holdEvents = [...]string{hold.Began: "hold", hold.Ending: "hold_ending", hold.Ended: "hold_end"}

// tellHolds tells of the holds that excuse something here.
func (r *runner) tellHolds(changes []hold.Change) {
	for _, c := range changes {
		if c.Lease.ID != hold.Host && !r.Conditions.Has(c.Lease.ID) {
			continue
		}
		l := c.Lease
		e := Event{Name: holdEvents[c.Kind], ID: l.ID, By: l.By, Reason: l.Reason, Left: c.Left, DryRun: r.DryRun}
		switch left := c.Left.Round(time.Second); c.Kind {
		case hold.Began:
			e.Text = fmt.Sprintf("%s: hold by %s for %s: %s", l.ID, l.By, left, l.Reason)
		case hold.Ending:
			e.Text, e.Grave = fmt.Sprintf("%s: hold by %s ends in %s", l.ID, l.By, left), true
		case hold.Ended:
			e.Text = fmt.Sprintf("%s: hold by %s has ended", l.ID, l.By)
		}
		r.tell(e)
	}
}

// tellOnce tells err unless it is what was told before, and gives what to pass
// as told the next time.
func (r *runner) tellOnce(told string, err error) string {
	if err == nil {
		return ""
	}
	if err.Error() != told {
		r.tell(Event{Text: err.Error(), Grave: true})
	}
	return err.Error()
}
