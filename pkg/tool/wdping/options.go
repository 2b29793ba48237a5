package wdping

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/flag"
	"vigil/pkg/hold"
	"vigil/pkg/hook"
	"vigil/pkg/sdnotify"
	"vigil/pkg/watchdog"
)

// options is what the flags say.
type options struct {
	watchdog.Config
	conditions  condition.Set
	holds       string
	holdMax     time.Duration
	ledger      string
	onStarve    string
	hookTimeout time.Duration
	status      bool
}

func (o *options) flags(flags *flag.FlagSet) {
	o.conditions.Flags(flags)
	flags.StringVar(&o.Device, "device", watchdog.DefaultPath, "watchdog `NODE`; none to do without")
	flags.DurationVar(&o.Timeout, "timeout", time.Minute, "the device resets the machine after this `time` without a ping: whole seconds")
	flags.DurationVar(&o.Interval, "interval", 0, "`time` between pings, at most a third of -timeout (default a quarter)")
	flags.DurationVar(&o.Pretimeout, "pretimeout", 0, "the device warns this `time` before it resets: whole seconds")
	flags.DurationVar(&o.Grace, "grace", time.Minute, "`time` for each condition to hold once before it counts as failed")
	flags.DurationVar(&o.ArmAfter, "arm-after", 0, "open the device after this `time` even if not every condition has held (default never)")
	flags.BoolVar(&o.Latch, "latch", false, "once starving, stay so: no recovery")
	flags.StringVar(&o.holds, "hold", "", "honour holds in `DIR`: an id under a hold is excused")
	flags.DurationVar(&o.holdMax, "hold-max", time.Hour, "longest `time` that a hold is honoured")
	flags.StringVar(&o.ledger, "ledger", "", "keep in `FILE` what the next boot has to know: armed, starving and of what")
	flags.Func("max-resets", "stand down after this many resets by the watchdog: `N/time`, such as 3/1h (default never)", func(word string) (err error) {
		o.MaxResets, o.ResetsIn, err = parseResets(word)
		return err
	})
	flags.StringVar(&o.onStarve, "on-starve", "", "run `PROG` when the device is not pinged any more")
	flags.DurationVar(&o.hookTimeout, "hook-timeout", 10*time.Second, "longest `time` that -on-starve may run")
	flags.BoolFunc("notify", "tell systemd as the service's main process: READY, WATCHDOG, STOPPING; -notify=sidecar: only WATCHDOG", func(word string) (err error) {
		o.Notify, err = parseNotify(word)
		return err
	})
	flags.Func("exit", "what becomes of the device at the end, `WORD`: disarm or stay (default disarm)", func(word string) error {
		o.Stay = word == "stay"
		if !o.Stay && word != "disarm" {
			return errors.New("want disarm or stay")
		}
		return nil
	})
	flags.IntVar(&o.Priority, "rt", 0, "run under SCHED_FIFO with this `priority`, 1 to 99 (default not)")
	flags.BoolVar(&o.DryRun, "dry-run", false, "do everything but open the device: say what would be done")
	flags.BoolVar(&o.status, "status", false, "tell what is known of the device without opening it")
}

// parseResets reads N/time.
func parseResets(word string) (int, time.Duration, error) {
	count, within, _ := strings.Cut(word, "/")
	n, err := strconv.Atoi(count)
	d, err2 := time.ParseDuration(within)
	if err != nil || err2 != nil || n < 1 || d <= 0 {
		return 0, 0, errors.New("want N/time, such as 3/1h")
	}
	return n, d, nil
}

func parseNotify(word string) (watchdog.NotifyMode, error) {
	switch word {
	case "true":
		return watchdog.NotifyMain, nil
	case "false":
		return watchdog.NotifyOff, nil
	case "sidecar":
		return watchdog.NotifySidecar, nil
	}
	return watchdog.NotifyOff, errors.New("want nothing, or =sidecar")
}

// check refuses what the flags alone show to be wrong.
func (o *options) check() error {
	switch {
	case o.Device == "":
		return cli.Usagef("-device: want a node, or none")
	case o.status && o.Device == "none" && o.ledger == "":
		return cli.Usagef("-status: wants a device, or a -ledger, or both")
	case o.status:
		return nil
	case o.conditions.Len() == 0:
		return cli.Usagef("no condition: a watchdog that is pinged whatever happens watches nothing")
	case o.holdMax <= 0:
		return cli.Usagef("-hold-max %s: want more than 0", o.holdMax)
	case o.hookTimeout <= 0:
		return cli.Usagef("-hook-timeout %s: want more than 0", o.hookTimeout)
	case o.MaxResets > 0 && o.ledger == "":
		return cli.Usagef("-max-resets: needs -ledger, to count by")
	}
	return nil
}

// prepare opens what is needed besides the device.
func (o *options) prepare(env *cli.Env) error {
	if o.Device == "none" {
		o.Device = ""
	}
	o.Conditions = &o.conditions
	err := o.Check()
	if o.DryRun && errors.Is(err, fs.ErrNotExist) {
		// What would be done can be said without the device, too.
		env.Log.Warn(err.Error())
		err = nil
	}
	if err == nil {
		err = o.supervisor(env)
	}
	if err == nil && o.holds != "" {
		o.Holds, err = hold.NewReader(o.holds, tool.Name, o.holdMax)
	}
	if err == nil && o.ledger != "" && !o.DryRun {
		o.Ledger, err = watchdog.OpenLedger(o.ledger)
	}
	return err
}

// supervisor finds out by the environment whom -notify is to tell, and how often.
func (o *options) supervisor(env *cli.Env) error {
	if o.Notify == watchdog.NotifyOff {
		return nil
	}
	socket, err := sdnotify.Open(env.Getenv(sdnotify.SocketEnv))
	if err != nil {
		return cli.Usagef("-notify: %v", err)
	}
	o.Supervisor = socket
	// The variable names the service's main process, beside which a sidecar runs.
	pid := os.Getpid()
	if o.Notify == watchdog.NotifySidecar {
		pid = 0
	}
	o.Watch, err = sdnotify.Watch(env.Getenv(sdnotify.USecEnv), env.Getenv(sdnotify.PIDEnv), pid)
	switch {
	case err != nil:
		return cli.Usagef("-notify: %v", err)
	case o.Watch == 0 && o.Notify == watchdog.NotifySidecar:
		return cli.Usagef("-notify=sidecar: %s is not set: the unit has no WatchdogSec", sdnotify.USecEnv)
	}
	return o.CheckWatch()
}

// hooks makes the runner of -on-starve.
func (o *options) hooks(env *cli.Env) (*hook.Runner, error) {
	program, err := hook.Check(o.onStarve)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, hook.ErrRefused):
		return nil, cli.Usagef("-on-starve: %v", err)
	case err != nil:
		return nil, err
	}
	cfg := hook.Config{
		Program: program, Timeout: o.hookTimeout, Jobs: 1,
		Output: os.Stderr, Warn: func(text string) { env.Log.Warn(text) },
	}
	if dir := env.Getenv("VIGIL_DIR"); dir != "" {
		cfg.Env = []string{"VIGIL_DIR=" + dir}
	}
	return hook.New(cfg), nil
}
