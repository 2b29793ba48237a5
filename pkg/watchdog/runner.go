package watchdog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/fmt"
)

// runner is the state that the goroutines of Run share.
type runner struct {
	Config
	*teller
	*keeper
	look     chan struct{} // one token: judge now
	order    atomic.Pointer[order]
	serving  atomic.Bool // the conditions have been judged
	starving atomic.Bool
	latched  atomic.Pointer[condition.Verdict] // by -latch, for the end
	ended    chan error                        // the device is gone, or could not be opened

	mu      sync.Mutex // one at a time opens, pings or leaves the device
	device  *Device
	pinged  time.Duration // or opened
	stopped atomic.Bool   // it has been left
	fault   string        // of the last ping, to tell it once
	outcome Outcome       // of a device that was open only to be disarmed

	armedFor atomic.Int64 // nanoseconds: the timeout as read back; 0 until armed

	notice notice     // of the pinging thread
	status string     // for the supervisor
	speech sync.Mutex // one at a time speaks to the supervisor
	mute   string     // what was said of a supervisor that does not hear
}

// flushLimit is how long the end waits for a reader of our messages, and for the
// ledger.
const flushLimit = 2 * time.Second

// Run feeds until done is closed, or the device is gone. It gives how the device was
// left. An error beside it says why the run ended of itself, or why the device
// could not be opened; nothing is armed then unless the Outcome says so.
func Run(done <-chan struct{}, c Config) (Outcome, error) {
	if c.open == nil {
		c.open, c.lock = openReal, !c.DryRun
	}
	r := &runner{
		Config: c, teller: newTeller(c.Out), keeper: newKeeper(), look: make(chan struct{}, 1), ended: make(chan error, 2),
		notice: notice{mode: c.Notify, watch: c.Watch}, outcome: Disarmed,
	}
	err := r.begin()
	if err == nil {
		r.order.Store(&order{
			Verdict: condition.Verdict{State: condition.Waiting},
			at:      boottime.Now(), pace: newPace(c.Timeout, c.Interval, c.Watch),
		})
		go r.keep()
		go r.judge()
		go r.feed()
		select {
		case <-done:
		case err = <-r.ended:
		}
		r.outcome = r.end(err)
		r.drain(flushLimit)
	}
	r.flush(flushLimit)
	runtime.KeepAlive(r) // and with it the device, up to here
	return r.outcome, err
}

// begin does what has to be done before anything is watched.
func (r *runner) begin() error {
	if r.lock {
		what, err := lockMemory()
		text := "memory locked: " + what
		if err != nil {
			text += ": " + err.Error()
		}
		if err := spare(); err != nil {
			text += "; not spared when memory runs out: " + err.Error()
		}
		r.tell(Event{Text: text, Minor: true})
	}
	if r.Priority > 0 && !r.DryRun {
		if err := realTime(r.Priority); err != nil {
			return err
		}
	}
	boot, err := boottime.ID()
	if err != nil {
		return err
	}
	r.boot = boot
	return r.remember()
}

// feed is the pinging thread. It touches no file and waits for nobody.
func (r *runner) feed() {
	runtime.LockOSThread()
	l := loop{latch: r.Latch, state: condition.Waiting} // which goes without saying until something is known
	defer close(r.look)
	next := boottime.Now()
	for !r.stopped.Load() {
		now := boottime.Now()
		a := l.step(now, r.order.Load())
		if a.ping {
			r.ping(now)
		}
		if a.change != nil {
			r.latched.Store(l.latched)
			r.turn(now, a)
		}
		r.speak(now, a)
		select {
		case r.look <- struct{}{}:
		default: // still busy with the last one
		}
		// A wake-up that was missed is not made up for.
		next = max(next+a.again, now+a.again/2)
		sleepUntil(next)
	}
}

// turn tells what has changed, and keeps what another boot has to know.
func (r *runner) turn(now time.Duration, a action) {
	e := r.stateEvent(*a.change)
	r.status = cli.Escape(e.Text) // a line of its own in what the supervisor gets
	r.starving.Store(!a.feeds)
	if !a.feeds {
		if e.Left = r.left(now); e.Left > 0 {
			e.Text += fmt.Sprintf("; reset in %s", e.Left.Round(time.Second))
		}
	}
	r.tell(e)
	switch {
	case !a.turn || r.DryRun:
	case a.feeds:
		r.record(r.entry(Recovered, "", ""))
	default:
		r.record(r.entry(Starving, a.change.ID, a.change.Reason))
	}
}

// speak tells the supervisor what is due.
func (r *runner) speak(now time.Duration, a action) {
	if r.Notify == NotifyOff {
		return
	}
	text := r.notice.compose(now, a.again, r.serving.Load(), a.feeds || r.DryRun, r.status)
	if text != "" && r.send(text) {
		r.notice.sent(now, text, r.status)
	}
}

// send tells whether the supervisor got it. A supervisor that is behind or away is
// tried again, and said once.
func (r *runner) send(text string) bool {
	if text == "" {
		return true
	}
	r.speech.Lock()
	defer r.speech.Unlock()
	err := r.Supervisor.Send(text)
	r.mute = r.tellOnce(r.mute, err)
	return err == nil
}

// ping pings the device if it is open.
func (r *runner) ping(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.device == nil || r.stopped.Load() {
		return
	}
	err := r.device.Ping()
	if err == nil {
		r.fault, r.pinged = "", now
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
	pace, start := r.order.Load().pace, boottime.Now()
	live := false
	trouble := ""
	for range r.look {
		at := boottime.Now()
		if r.Holds != nil {
			changes, err := r.Holds.Refresh(at)
			r.tellHolds(changes)
			trouble = r.tellOnce(trouble, err)
		}
		worst, ready := condition.Sum(r.Conditions.Judge(clock, holder, r.Grace))
		late := r.ArmAfter > 0 && at-start >= r.ArmAfter
		if !live && (late || ready && worst.State <= condition.Held) {
			p, err := r.arm(pace, late && !ready)
			if err != nil {
				r.ended <- err
				return
			}
			live, pace = true, p
		}
		r.order.Store(&order{worst, at, pace, live})
		r.serving.Store(true)
		if r.Ready != nil {
			r.tellOnce("", r.Ready())
			r.Ready = nil
		}
	}
}
