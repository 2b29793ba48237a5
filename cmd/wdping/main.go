// Command wdping pings a hardware watchdog while its conditions hold.
package main

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/hold"
	"vigil/pkg/watchdog"
)

// exitArmed is for a device that was left armed, or may have been.
const exitArmed = 3

var tool = cli.Tool{
	Name:     "wdping",
	Synopsis: "wdping [flags] CONDITION... | wdping -status [-device NODE]",
	Summary:  "Pings a hardware watchdog while all its conditions hold: -fresh, -check, -stdin, -pidfile, -exists, -absent.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end and nothing is armed; -status: told"},
		{Code: cli.ExitNo, Meaning: "-status: there is no such watchdog"},
		{Code: exitArmed, Meaning: "told to end, and the watchdog was left armed or is not known to be disarmed"},
		{Code: cli.ExitUsage, Meaning: "wrong usage, or a timeout that the device does not take"},
		{Code: cli.ExitSystem, Meaning: "the device, a directory or a condition file was refused, or the device is gone"},
	},
}

func main() { cli.Main(tool, run) }

func run(env *cli.Env, args []string) int {
	var conditions condition.Set
	c := watchdog.Config{Conditions: &conditions}
	var holds string
	var holdMax time.Duration
	var status bool
	flags := env.Flags()
	conditions.Flags(flags)
	flags.StringVar(&c.Device, "device", watchdog.DefaultPath, "watchdog `NODE`; none to do without")
	flags.DurationVar(&c.Timeout, "timeout", time.Minute, "the device resets the machine after this `time` without a ping: whole seconds")
	flags.DurationVar(&c.Interval, "interval", 0, "`time` between pings, at most a third of -timeout (default a quarter)")
	flags.DurationVar(&c.Grace, "grace", time.Minute, "`time` for each condition to hold once before it counts as failed")
	flags.StringVar(&holds, "hold", "", "honour holds in `DIR`: an id under a hold is excused")
	flags.DurationVar(&holdMax, "hold-max", time.Hour, "longest `time` that a hold is honoured")
	flags.BoolVar(&c.DryRun, "dry-run", false, "do everything but open the device: say what would be done")
	flags.BoolVar(&status, "status", false, "tell what is known of the device without opening it")
	flags.Func("exit", "what becomes of the device at the end, `WORD`: disarm or stay (default disarm)", func(word string) error {
		c.Stay = word == "stay"
		if !c.Stay && word != "disarm" {
			return errors.New("want disarm or stay")
		}
		return nil
	})
	ready := env.ReadyFlag(flags)
	if code, done := env.Parse(flags, args); done {
		return code
	}
	switch {
	case flags.NArg() > 0:
		return env.Usage("unexpected argument: %s", flags.Arg(0))
	case c.Device == "":
		return env.Usage("-device: want a node, or none")
	case status:
		return tellStatus(env, c.Device)
	case conditions.Len() == 0:
		return env.Usage("no condition: a watchdog that is pinged whatever happens watches nothing")
	case c.Grace < 0:
		return env.Usage("-grace %s: want 0 or more", c.Grace)
	case holdMax <= 0:
		return env.Usage("-hold-max %s: want more than 0", holdMax)
	}
	conditions.Warn = func(text string) { env.Log.Warn(text) }
	defer conditions.Close()
	if err := prepare(env, &c); err != nil {
		return env.Fail(err)
	}
	if holds != "" {
		reader, err := hold.NewReader(holds, tool.Name, holdMax)
		if err != nil {
			return env.Fail(err)
		}
		c.Holds = reader
	}
	c.Ready = ready.Signal
	return feed(env, c)
}

// prepare refuses what cannot work before anything is begun.
func prepare(env *cli.Env, c *watchdog.Config) error {
	if c.Device == "none" {
		c.Device = ""
	}
	err := c.Check()
	if c.DryRun && errors.Is(err, fs.ErrNotExist) {
		// What would be done can be said without the device, too.
		env.Log.Warn(err.Error())
		err = nil
	}
	return err
}

func feed(env *cli.Env, c watchdog.Config) int {
	// A terminal that hangs up must not end us: that would leave the device armed.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	// The pinging thread sleeps outside of Go. With a second processor to look
	// after, the runtime wakes up six times as often (25 a tick against 4).
	runtime.GOMAXPROCS(1)
	mute := false
	c.Out = func(e watchdog.Event) {
		if e.Name != "" && !mute {
			mute = env.Print(e.Line()) != cli.ExitOK
		}
		if e.Grave {
			env.Log.Warn(e.Text)
		} else {
			env.Log.Info(e.Text)
		}
	}
	outcome, err := watchdog.Run(env.Done, c)
	if err != nil {
		return env.Fail(err)
	}
	if outcome != watchdog.Disarmed {
		return exitArmed
	}
	return cli.ExitOK
}

func tellStatus(env *cli.Env, device string) int {
	info, err := watchdog.Inspect(device)
	if errors.Is(err, fs.ErrNotExist) {
		env.Log.Error(err.Error())
		return cli.ExitNo
	}
	if err != nil {
		return env.Fail(err)
	}
	return env.Print(info.Text())
}
