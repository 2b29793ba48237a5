package watchdog

import (
	"errors"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/fmt"
)

// arm opens the device, sets it up, and gives the pace that it needs. What is
// refused is disarmed again.
func (r *runner) arm(p pace, late bool) (pace, error) {
	if late {
		text := fmt.Sprintf("-arm-after %s is over, and not every condition has held", r.ArmAfter)
		r.tell(Event{Name: "late", DryRun: r.DryRun, Text: text, Grave: true})
	}
	if r.Device == "" || r.DryRun {
		return p, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped.Load() {
		return p, nil
	}
	d, err := r.open(r.Device)
	if err != nil {
		return p, err
	}
	real, err := d.SetTimeout(r.Timeout)
	if err == nil {
		err = r.checkInterval(real)
	}
	warned := time.Duration(0)
	if err == nil {
		warned, err = r.setPretimeout(d, real)
	}
	if err != nil {
		_, how := d.Disarm()
		if u := (*cli.UsageError)(nil); errors.As(err, &u) {
			return p, cli.Usagef("%v: %s", err, how)
		}
		return p, fmt.Errorf("%w: %s", err, how)
	}
	r.device, r.pinged = d, boottime.Now()
	r.armedFor.Store(int64(real))
	r.record(r.entry(ArmedNow, "", ""))
	r.tell(r.armedEvent(d, real, warned))
	return newPace(real, r.Interval, r.Watch), nil
}

// setPretimeout gives what the device really does, also if nothing was asked for.
func (r *runner) setPretimeout(d *Device, timeout time.Duration) (time.Duration, error) {
	if r.Pretimeout == 0 {
		had, _ := d.Pretimeout() // most drivers have none
		return had, nil
	}
	if r.Pretimeout >= timeout {
		return 0, cli.Usagef("-pretimeout %s: want less than the timeout, %s", r.Pretimeout, timeout)
	}
	return d.SetPretimeout(r.Pretimeout)
}

func (r *runner) armedEvent(d *Device, real, warned time.Duration) Event {
	text := fmt.Sprintf("%s: armed: %s, timeout %s", r.Device, d.Identity, real)
	if real != r.Timeout {
		text += fmt.Sprintf(" (asked for %s)", r.Timeout)
	}
	odd := real != r.Timeout
	if warned != 0 || r.Pretimeout != 0 {
		text += fmt.Sprintf(", pretimeout %s", warned)
		if warned != r.Pretimeout {
			text += fmt.Sprintf(" (asked for %s)", r.Pretimeout)
			odd = true
		}
	}
	if d.Info.attr["nowayout"] == "1" {
		text += ", nowayout: it cannot be disarmed"
	}
	if d.Info.sysfs == "" && d.BootStatus()&cardReset != 0 {
		text += "; it has caused the last reset"
	}
	return Event{Name: "armed", Device: r.Device, Identity: d.Identity, T: real, Pre: warned, Text: text, Grave: odd}
}

// end leaves the device as was agreed: disarmed, unless it starves or is to stay.
func (r *runner) end(err error) Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped.Store(true)
	r.send(r.notice.stopping())
	if r.device == nil {
		return r.outcome
	}
	var outcome Outcome
	var text, reason string
	switch v := r.verdict(); {
	case err != nil:
		outcome, reason = Unknown, "device is gone"
		text = "unknown (" + reason + ")"
		r.record(r.entry(Lost, "", reason))
	case v.State == condition.Fails:
		outcome, reason = Armed, "starving: "+describe(v)
		text = fmt.Sprintf("left armed: %s; resets within %s", reason, time.Duration(r.armedFor.Load()))
		// What the ledger says last, that it starves, stays true.
	case r.Stay:
		outcome, reason = Armed, "-exit stay"
		text = "left armed: " + reason
		r.record(r.entry(Left, "", reason))
	default:
		outcome, text = r.device.Disarm()
		if outcome != Disarmed {
			reason = text
		}
		r.record(r.entry([...]Mark{Disarmed: Safe, Armed: Left, Unknown: Lost}[outcome], "", reason))
	}
	names := [...]string{Disarmed: "disarmed", Armed: "left_armed", Unknown: "unknown"}
	r.tell(Event{
		Name: names[outcome], Device: r.Device, Reason: reason,
		Text: r.Device + ": " + text, Grave: outcome != Disarmed,
	})
	return outcome
}

// verdict is the one that counts at the end.
func (r *runner) verdict() condition.Verdict {
	if v := r.latched.Load(); v != nil {
		return *v
	}
	return r.order.Load().current(boottime.Now())
}

// left is how long the machine has still to go without a ping: by the device's word,
// or else what follows from the last ping; 0 without a device.
func (r *runner) left(now time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.device == nil || r.stopped.Load() {
		return 0
	}
	if left, err := r.device.Timeleft(); err == nil {
		return left
	}
	return max(time.Duration(r.armedFor.Load())-(now-r.pinged), 0)
}
