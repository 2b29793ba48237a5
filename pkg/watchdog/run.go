package watchdog

import (
	"math"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/condition"
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

// Hook runs a program beside us. *hook.Runner is one.
type Hook interface {
	Submit(key string, vars []string)
}

// Config says what to feed, how fast, and on what conditions.
type Config struct {
	Device     string        // node; "" for none
	Timeout    time.Duration // whole seconds
	Interval   time.Duration // 0: a quarter of what the device's timeout turns out to be
	Pretimeout time.Duration // whole seconds before the reset; 0 leaves it as it is
	Grace      time.Duration // for a condition that has not held yet
	ArmAfter   time.Duration // open the device then, even if not all have held; 0 for never
	Latch      bool          // once starving, stay so
	Stay       bool          // leave the device armed at the end
	DryRun     bool          // do all but touch the device
	Priority   int           // of SCHED_FIFO for all own threads; 0 for none
	MaxResets  int           // stand down after so many resets within ResetsIn; 0 for never
	ResetsIn   time.Duration
	Conditions Conditions
	Holds      *hold.Reader // nil without; Run keeps it, also after its end
	Ledger     *Ledger      // nil without; Run keeps it, also after its end
	OnStarve   Hook         // nil without
	Notify     NotifyMode
	Watch      time.Duration // within which the supervisor wants to hear of us; 0 for never
	Supervisor Notifier      // with Notify
	Out        func(Event)   // called from one goroutine at a time
	Ready      func() error  // called once, when the conditions are being judged

	open func(node string) (*Device, error) // in place of openReal
	lock bool                               // the memory, and be spared when it runs out
}

// Check refuses what cannot work, with a *cli.UsageError where the call is to
// blame. It does not open the device, but it must be there.
func (c *Config) Check() error {
	for _, check := range [...]func() error{c.checkTimes, c.Conditions.Check} {
		if err := check(); err != nil {
			return err
		}
	}
	if c.Device == "" {
		return nil
	}
	info, err := Inspect(c.Device)
	if err != nil {
		return err
	}
	err = info.checkTimeout(c.Timeout)
	if err == nil && c.Pretimeout > 0 {
		err = info.checkPretimeout(c.Pretimeout)
	}
	if err != nil || c.DryRun {
		return err
	}
	// Better now than after the conditions have come to hold.
	return checkAccess(c.Device)
}

func (c *Config) checkTimes() error {
	switch {
	case c.Timeout < MinTimeout || c.Timeout%time.Second != 0 || c.Timeout/time.Second > math.MaxInt32:
		return cli.Usagef("-timeout %s: want whole seconds, at least %s", c.Timeout, MinTimeout)
	case c.Interval != 0 && c.Interval < minInterval:
		return cli.Usagef("-interval %s: want at least %s", c.Interval, minInterval)
	case c.Pretimeout < 0 || c.Pretimeout%time.Second != 0:
		return cli.Usagef("-pretimeout %s: want whole seconds", c.Pretimeout)
	case c.Pretimeout >= c.Timeout:
		return cli.Usagef("-pretimeout %s: want less than the timeout, %s", c.Pretimeout, c.Timeout)
	case c.Grace < 0:
		return cli.Usagef("-grace %s: want 0 or more", c.Grace)
	case c.Priority < 0 || c.Priority > 99:
		return cli.Usagef("-rt %d: want 1 to 99", c.Priority)
	case c.ArmAfter < 0:
		return cli.Usagef("-arm-after %s: want more than 0", c.ArmAfter)
	}
	return c.checkInterval(c.Timeout)
}

// minWatch leaves four wake-ups to it.
const minWatch = 4 * minInterval

// CheckWatch refuses a supervisor that is too impatient.
func (c *Config) CheckWatch() error {
	if c.Watch > 0 && c.Watch < minWatch {
		return cli.Usagef("-notify: the supervisor gives %s, want at least %s", c.Watch, minWatch)
	}
	return nil
}

// checkInterval leaves room for two pings to be lost.
func (c *Config) checkInterval(timeout time.Duration) error {
	if c.Interval > timeout/3 {
		return cli.Usagef("-interval %s: want at most a third of the timeout, %s", c.Interval, timeout/3)
	}
	return nil
}
