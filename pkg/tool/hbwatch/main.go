// Package hbwatch watches heartbeat files for timeouts.
package hbwatch

import (
	"runtime"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/flag"
	"vigil/pkg/hook"
	"vigil/pkg/watch"
)

var tool = cli.Tool{
	Name:     "hbwatch",
	Synopsis: "hbwatch [flags] PATH...",
	Summary:  "Watches heartbeat files for timeouts. PATH is a directory, or a file ID.hb.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end; with -once, the worst is " + states(0)},
		{Code: 1, Meaning: "with -once, the worst is " + states(1) + ", or what -fail-on names"},
		{Code: 2, Meaning: "with -once, the worst is " + states(2)},
		{Code: 3, Meaning: "with -once, the worst is " + states(3) + ", or there is nothing to watch"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "a directory or the hook cannot be read, a file cannot be written, or a directory is not trusted"},
	},
}

// states lists those that give an exit code.
func states(code int) string {
	var names []string
	for _, s := range watch.States {
		if s.Code == code {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, " or ")
}

const (
	hooksWait = 5 * time.Second // for hooks, once told to end
	linesWait = 2 * time.Second // for a reader of the last events
	// With -once, each hook has the time that -hook-timeout gives it.
	hooksForever = 1 << 62
)

// Main is the program.
func Main() { cli.Main(tool, run) }

func run(env *cli.Env, args []string) int {
	if len(args) > 0 && args[0] == "tune" {
		return runTune(env, args[1:])
	}
	// One thread at a time does all there is to do: eight times fewer wake-ups.
	runtime.GOMAXPROCS(1)
	var o options
	flags := o.flags(env)
	if code, done := env.Parse(flags, args); done {
		return code
	}
	flags.Visit(func(f *flag.Flag) { o.quiet = o.quiet || f.Name == "q" })
	o.Paths, o.Tool, o.Log = flags.Args(), tool.Name, env.Log
	err := o.check()
	if err == nil {
		err = o.outputs.check(o.Once)
	}
	if err != nil {
		if len(o.Paths) == 0 {
			return env.Usage("%v", err)
		}
		return env.Fail(err)
	}
	if o.Once {
		return once(env, &o)
	}
	return serve(env, &o)
}

// serve watches until told to end.
func serve(env *cli.Env, o *options) int {
	lines := watch.NewLines(env.Stdout, "stdout", "events", env.Log)
	defer lines.Close(linesWait)
	var hooks *hook.Runner
	if o.hook != "" {
		hooks = newHooks(env, o)
		defer func() {
			if n := hooks.Close(hooksWait); n > 0 {
				env.Log.Warn("told to end: some hooks were not run", "hooks", n)
			}
		}()
	}
	o.Emit = func(ev watch.Event) {
		lines.Put(&ev)
		if hooks != nil && ev.Kind == watch.Transition {
			hooks.Submit(ev.ID, variables(&ev))
		}
	}
	o.Ready = o.ready.Signal
	end, err := o.outputs.open(env, &o.Options, lines)
	defer end()
	if err != nil {
		return env.Fail(err)
	}
	defer o.confirming(env)()
	w, err := watch.Open(o.Options)
	if err != nil {
		return env.Fail(err)
	}
	defer w.Close()
	if err := w.Run(env.Done); err != nil {
		return env.Fail(err)
	}
	return cli.ExitOK
}
