package watchdog

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/fmt"
	"vigil/pkg/hold"
)

// Outcome is how the device was left.
type Outcome uint8

// The outcomes.
const (
	Disarmed Outcome = iota // as read back, or never armed
	Armed                   // the machine resets unless somebody opens it in time
	Unknown                 // nothing could be read back
)

// Conditions is what must be well. *condition.Set is one.
type Conditions interface {
	Check() error
	Has(id string) bool
	Judge(clock func() condition.Clock, holder condition.Holder, grace time.Duration) []condition.Verdict
}

// Config says what to feed, how fast, and on what conditions.
type Config struct {
	Device     string        // node; "" for none
	Timeout    time.Duration // whole seconds
	Interval   time.Duration // 0: a quarter of what the device's timeout turns out to be
	Grace      time.Duration // for a condition that has not held yet
	Stay       bool          // leave the device armed at the end
	DryRun     bool          // do all but touch the device
	Conditions Conditions
	Holds      *hold.Reader // nil without; Run keeps it, also after its end
	Out        func(Event)  // called from one goroutine at a time
	Ready      func() error // called once, when the conditions are being judged

	open func(node string) (*Device, error) // in place of openReal
}

// Check refuses what cannot work, with a *cli.UsageError where the call is to
// blame. It does not open the device, but it must be there.
func (c *Config) Check() error {
	switch {
	case c.Timeout < MinTimeout || c.Timeout%time.Second != 0 || c.Timeout/time.Second > math.MaxInt32:
		return cli.Usagef("-timeout %s: want whole seconds, at least %s", c.Timeout, MinTimeout)
	case c.Interval != 0 && c.Interval < minInterval:
		return cli.Usagef("-interval %s: want at least %s", c.Interval, minInterval)
	}
	if err := c.checkInterval(c.Timeout); err != nil {
		return err
	}
	if err := c.Conditions.Check(); err != nil {
		return err
	}
	if c.Device == "" {
		return nil
	}
	info, err := Inspect(c.Device)
	if err != nil {
		return err
	}
	if err := info.checkTimeout(c.Timeout); err != nil || c.DryRun {
		return err
	}
	// Better now than after the conditions have come to hold.
	return checkAccess(c.Device)
}

// checkInterval leaves room for two pings to be lost.
func (c *Config) checkInterval(timeout time.Duration) error {
	if c.Interval > timeout/3 {
		return cli.Usagef("-interval %s: want at most a third of the timeout, %s", c.Interval, timeout/3)
	}
	return nil
}

// runner is the state that the goroutines of Run share.
type runner struct {
	Config
	*teller
	look  chan struct{} // one token: judge now
	order atomic.Pointer[order]
	ended chan error // the device is gone, or could not be opened

	mu      sync.Mutex // one at a time opens, pings or leaves the device
	device  *Device
	stopped atomic.Bool // it has been left
	fault   string      // of the last ping, to tell it once
}

// flushLimit is how long the end waits for a reader of our messages.
const flushLimit = 2 * time.Second

// Run feeds until done is closed, or the device is gone. It gives how the device was
// left. An error beside it says why the run ended of itself, or why the device
// could not be opened; nothing is armed then unless the Outcome says so.
func Run(done <-chan struct{}, c Config) (Outcome, error) {
	if c.open == nil {
		c.open = openReal
	}
	r := &runner{Config: c, teller: newTeller(c.Out), look: make(chan struct{}, 1), ended: make(chan error, 2)}
	r.order.Store(&order{
		Verdict: condition.Verdict{State: condition.Waiting},
		at:      boottime.Now(), pace: newPace(c.Timeout, c.Interval),
	})
	go r.judge()
	go r.feed()
	var err error
	select {
	case <-done:
	case err = <-r.ended:
	}
	outcome := r.end(err)
	r.flush(flushLimit)
	runtime.KeepAlive(r) // and with it the device, up to here
	return outcome, err
}

// feed is the pinging thread. It touches no file and waits for nobody.
func (r *runner) feed() {
	runtime.LockOSThread()
	l := loop{state: condition.Waiting} // which goes without saying until something is known
	defer close(r.look)
	next := boottime.Now()
	for !r.stopped.Load() {
		now := boottime.Now()
		ping, change, again := l.step(now, r.order.Load())
		if ping {
			r.ping()
		}
		if change != nil {
			r.tell(r.stateEvent(*change))
		}
		select {
		case r.look <- struct{}{}:
		default: // still busy with the last one
		}
		// A wake-up that was missed is not made up for.
		next = max(next+again, now+again/2)
		sleepUntil(next)
	}
}

// ping pings the device if it is open.
func (r *runner) ping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.device == nil || r.stopped.Load() {
		return
	}
	err := r.device.Ping()
	if err == nil {
		r.fault = ""
		return
	}
	// The next try may succeed; only a device that does not exist any more is
	// the end.
	if text := fmt.Sprintf("%s: ping: %v", r.Device, err); text != r.fault {
		r.fault = text
		r.tell(Event{Text: text, Grave: true})
	}
	if gone(err) {
		r.stopped.Store(true)
		r.ended <- fmt.Errorf("%s: device is gone", r.Device)
	}
}

// judge looks at the conditions and opens the device. It may hang with the file
// system it looks at; its last verdict expires then.
func (r *runner) judge() {
	clock := func() condition.Clock {
		return condition.Clock{Boot: boottime.Now(), Suspended: boottime.Suspended(), WallNS: time.Now().UnixNano()}
	}
	var holder condition.Holder
	if r.Holds != nil {
		holder = r.Holds
	}
	pace := r.order.Load().pace
	armed := false
	trouble := ""
	for range r.look {
		at := boottime.Now()
		if r.Holds != nil {
			changes, err := r.Holds.Refresh(at)
			r.tellHolds(changes)
			trouble = r.tellOnce(trouble, err)
		}
		worst, ready := condition.Sum(r.Conditions.Judge(clock, holder, r.Grace))
		if ready && !armed && pings(worst.State) {
			p, err := r.arm(pace)
			if err != nil {
				r.ended <- err
				return
			}
			armed, pace = true, p
		}
		r.order.Store(&order{worst, at, pace})
		if r.Ready != nil {
			r.tellOnce("", r.Ready())
			r.Ready = nil
		}
	}
}

// arm opens the device, sets it up, and gives the pace that it needs. What is
// refused is disarmed again.
func (r *runner) arm(p pace) (pace, error) {
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
	if err != nil {
		_, how := d.Disarm()
		if u := (*cli.UsageError)(nil); errors.As(err, &u) {
			return p, cli.Usagef("%v: %s", err, how)
		}
		return p, fmt.Errorf("%w: %s", err, how)
	}
	r.device = d
	text := fmt.Sprintf("%s: armed: %s, timeout %s", r.Device, d.Identity, real)
	if real != r.Timeout {
		text += fmt.Sprintf(" (asked for %s)", r.Timeout)
	}
	if d.Info.attr["nowayout"] == "1" {
		text += ", nowayout: it cannot be disarmed"
	}
	r.tell(Event{Name: "armed", Device: r.Device, Identity: d.Identity, T: real, Text: text, Grave: real != r.Timeout})
	return newPace(real, r.Interval), nil
}

// end leaves the device as was agreed: disarmed, unless it starves or is to stay.
func (r *runner) end(err error) Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped.Store(true)
	if r.device == nil {
		return Disarmed
	}
	var outcome Outcome
	var text, reason string
	switch v := r.order.Load().current(boottime.Now()); {
	case err != nil:
		outcome, reason = Unknown, "device is gone"
		text = "unknown (" + reason + ")"
	case pings(v.State) && !r.Stay:
		outcome, text = r.device.Disarm()
		if outcome != Disarmed {
			reason = text
		}
	default:
		outcome, reason = Armed, "-exit stay"
		if !pings(v.State) {
			reason = "starving: " + describe(v)
		}
		text = "left armed: " + reason
	}
	names := [...]string{Disarmed: "disarmed", Armed: "left_armed", Unknown: "unknown"}
	r.tell(Event{
		Name: names[outcome], Device: r.Device, Reason: reason,
		Text: r.Device + ": " + text, Grave: outcome != Disarmed,
	})
	return outcome
}
