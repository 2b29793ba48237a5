// Package wdping pings a hardware watchdog while its conditions hold.
package wdping

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/watchdog"
)

// exitArmed is for a device that was left armed, or may have been.
const exitArmed = 3

var tool = cli.Tool{
	Name:     "wdping",
	Synopsis: "wdping [flags] CONDITION... | wdping -status [-device NODE] [-ledger FILE]",
	Summary:  "Pings a hardware watchdog while all its conditions hold: -fresh, -check, -stdin, -pidfile, -exists, -absent.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end and nothing is armed; -status: told"},
		{Code: cli.ExitNo, Meaning: "-status: there is no such watchdog"},
		{Code: exitArmed, Meaning: "told to end, and the watchdog was left armed or is not known to be disarmed"},
		{Code: cli.ExitUsage, Meaning: "wrong usage, or a timeout that the device does not take"},
		{Code: cli.ExitSystem, Meaning: "the device, a directory, a condition file or the ledger was refused, or the device is gone"},
	},
}

// Main is the program.
func Main() { cli.Main(tool, run) }

func run(env *cli.Env, args []string) int {
	var o options
	flags := env.Flags()
	o.flags(flags)
	ready := env.ReadyFlag(flags)
	if code, done := env.Parse(flags, args); done {
		return code
	}
	if flags.NArg() > 0 {
		return env.Usage("unexpected argument: %s", flags.Arg(0))
	}
	if err := o.check(); err != nil {
		return env.Usage("%v", err)
	}
	if o.status {
		return tellStatus(env, o.Device, o.ledger)
	}
	o.conditions.Warn = func(text string) { env.Log.Warn(text) }
	defer o.conditions.Close()
	if err := o.prepare(env); err != nil {
		return env.Fail(err)
	}
	if o.onStarve != "" {
		hooks, err := o.hooks(env)
		if err != nil {
			return env.Fail(err)
		}
		defer hooks.Close(hookWait)
		o.OnStarve = hooks
	}
	o.Ready = ready.Signal
	return feed(env, o.Config)
}

// hookWait is how long the end waits for a hook that still runs.
const hookWait = 2 * time.Second

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
		switch {
		case e.Grave:
			env.Log.Warn(e.Text)
		case e.Minor:
			env.Log.Debug(e.Text)
		default:
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

func tellStatus(env *cli.Env, device, ledger string) int {
	var info watchdog.Info
	var text []byte
	if device != "none" {
		var err error
		info, err = watchdog.Inspect(device)
		if errors.Is(err, fs.ErrNotExist) {
			env.Log.Error(err.Error())
			return cli.ExitNo
		}
		if err != nil {
			return env.Fail(err)
		}
		text = info.Text()
	}
	if ledger != "" {
		reset, err := info.LastReset(ledger)
		if err != nil {
			return env.Fail(err)
		}
		text = append(text, "last reset: "+cli.Escape(reset.String())+"\n"...)
	}
	return env.Print(text)
}
