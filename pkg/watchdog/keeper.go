package watchdog

import (
	"strconv"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/fmt"
)

// keeper brings to the disk what a later boot has to know, and sets off what is to
// follow a starving, from a goroutine of its own: the disk may hang.
type keeper struct {
	boot     string
	entries  chan Entry
	recorded atomic.Int64
	kept     atomic.Int64
}

func newKeeper() *keeper { return &keeper{entries: make(chan Entry, 64)} }

// entry makes a line for now.
func (r *runner) entry(m Mark, id, reason string) Entry {
	e := Entry{TimeMS: time.Now().UnixMilli(), Boot: r.boot, At: boottime.Now(), Mark: m, Device: r.Device, ID: id, Reason: reason}
	e.Timeout = time.Duration(r.armedFor.Load())
	return e
}

// record asks for e to be kept, and does not wait. With so many waiting already the
// disk does not take any more.
func (k *keeper) record(e Entry) {
	select {
	case k.entries <- e:
		k.recorded.Add(1)
	default:
	}
}

// keep writes the ledger line first: what follows may be the end of this process.
func (r *runner) keep() {
	trouble := ""
	for e := range r.entries {
		if r.Ledger != nil {
			trouble = r.tellOnce(trouble, r.Ledger.Add(&e))
		}
		if e.Mark == Starving {
			if r.OnStarve != nil {
				r.OnStarve.Submit("starving", hookVars(&e))
			}
			// On a slow disk it may have recovered meanwhile.
			if r.starving.Load() {
				r.send(r.notice.trigger())
			}
		}
		r.kept.Add(1)
	}
}

// hookVars are the variables of a hook: our own words alone.
func hookVars(e *Entry) []string {
	vars := []string{"WD_EVENT=" + marks[e.Mark], "WD_ID=" + e.ID, "WD_REASON=" + cli.Escape(e.Reason)}
	if e.Timeout > 0 {
		vars = append(vars, "WD_DEVICE="+e.Device, "WD_TIMEOUT_MS="+strconv.FormatInt(e.Timeout.Milliseconds(), 10))
	}
	return vars
}

// drain waits until all is kept, but no longer than limit.
func (k *keeper) drain(limit time.Duration) {
	for end := boottime.Now() + limit; k.kept.Load() < k.recorded.Load() && boottime.Now() < end; {
		time.Sleep(time.Millisecond)
	}
}

// remember reads what earlier boots left, says that this one has begun, and stands
// down if the machine has been reset too often.
func (r *runner) remember() error {
	if r.Ledger == nil || r.DryRun {
		return nil
	}
	l := r.Ledger
	if l.bad > 0 {
		r.tell(Event{Text: fmt.Sprintf("%s: ledger: %d lines cannot be read", l.path, l.bad), Grave: true})
	}
	e := r.entry(Started, "", "")
	var info Info
	if r.Device != "" {
		info, _ = Inspect(r.Device) // what is wrong with it, is said elsewhere
	}
	if first(l.entries, r.boot) {
		reset := join(l.entries, r.boot, info.cardReset(), info.reports())
		e.Reset, e.ID, e.Reason = reset.Cause, reset.ID, reset.Reason
		if reset.Cause >= Probable {
			r.tell(Event{Name: "reset", ID: reset.ID, Reason: reset.Reason, Text: "last reset: " + reset.String(), Grave: true})
		}
	}
	if err := l.Add(&e); err != nil {
		return err
	}
	n := resets(append(l.entries, e), r.boot, e.TimeMS, e.At, r.ResetsIn)
	l.entries = nil
	if r.Device == "" || r.MaxResets == 0 || n < r.MaxResets {
		return nil
	}
	return r.standDown(info, n)
}

// LastReset tells from the ledger at name, and from what the driver says, how the boot
// before this one ended.
func (i *Info) LastReset(name string) (Reset, error) {
	boot, err := boottime.ID()
	if err != nil {
		return Reset{}, err
	}
	entries, err := ReadLedger(name)
	if err != nil {
		return Reset{}, err
	}
	return join(entries, boot, i.cardReset(), i.reports()), nil
}

// first tells whether the ledger has nothing of this boot yet.
func first(entries []Entry, boot string) bool {
	for i := range entries {
		if entries[i].Boot == boot {
			return false
		}
	}
	return true
}

// standDown lets the machine be: a watchdog that resets it again and again leaves
// nobody the time to mend what is wrong. The device is not opened for as long as
// this process lives, unless it runs without anybody who pings it, as after a
// crash of our own: then it is disarmed.
func (r *runner) standDown(info Info, n int) error {
	reason := fmt.Sprintf("%d resets within %s", n, r.ResetsIn)
	if n == 1 {
		reason = fmt.Sprintf("a reset within %s", r.ResetsIn)
	}
	e := r.entry(StoodDown, "", reason)
	if err := r.Ledger.Add(&e); err != nil {
		return err
	}
	how := "is not armed"
	if info.attr["state"] == "active" && info.attr["nowayout"] != "1" && len(info.holders("/proc")) == 0 {
		d, err := r.open(r.Device)
		if err != nil {
			return err
		}
		r.outcome, how = d.Disarm()
	} else if info.attr["state"] == "active" {
		r.outcome, how = Unknown, "is active, and is left alone"
	}
	r.tell(Event{
		Name: marks[StoodDown], Device: r.Device, Reason: reason,
		Text: "STANDING DOWN: " + reason + " by the watchdog: " + r.Device + " " + how, Grave: true,
	})
	r.Device = ""
	return nil
}
