// Command hbwatch watches heartbeat files for timeouts.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hook"
	"vigil/pkg/jsonline"
	"vigil/pkg/watch"
)

var tool = cli.Tool{
	Name:     "hbwatch",
	Synopsis: "hbwatch [flags] PATH...",
	Summary:  "Watches heartbeat files for timeouts. PATH is a directory, or a file ID.hb.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end; with -once, the worst is " + states(0)},
		{Code: 1, Meaning: "with -once, the worst is " + states(1)},
		{Code: 2, Meaning: "with -once, the worst is " + states(2)},
		{Code: 3, Meaning: "with -once, the worst is " + states(3) + ", or there is nothing to watch"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "a directory or the hook cannot be read, or a directory is not trusted"},
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
)

func main() { cli.Main(tool, run) }

// options are the flags that are not those of watch.
type options struct {
	watch.Options
	json        bool
	hook        string
	hookTimeout time.Duration
	hookJobs    int
	ready       *cli.Ready
}

func (o *options) flags(env *cli.Env) *flag.FlagSet {
	fs := env.Flags()
	o.Timeouts = map[string]time.Duration{}
	fs.Func("timeout", "dead after this much silence, for all or for one id: `[ID=]D` (may be given again)", func(s string) error {
		id, d, err := watch.ParseTimeout(s)
		if id == "" {
			o.Timeout = d
		} else {
			o.Timeouts[id] = d
		}
		return err
	})
	fs.DurationVar(&o.TTLMax, "ttl-max", time.Hour, "most `time` that a record's own ttl_ms is granted")
	fs.DurationVar(&o.TimeoutMax, "timeout-max", 10*time.Minute, "most `time` to dead where neither -timeout nor the record says")
	fs.DurationVar(&o.Suspect, "suspect", 0, "suspect after this `time` (default 3/5 of the time to dead)")
	fs.DurationVar(&o.Grace, "grace", 0, "`time` to be seen first, or to be done with starting (default twice the time to dead)")
	fs.DurationVar(&o.StoppedMax, "stopped-max", 5*time.Minute, "an expected id is dead this `time` after it said stopping")
	fs.Func("expect", "these ids are missed when there is no file of theirs: `ID,...` (may be given again)", func(s string) error {
		ids, err := watch.ParseExpect(s)
		o.Expect = append(o.Expect, ids...)
		return err
	})
	fs.BoolVar(&o.Once, "once", false, "look once, print a table and leave with the worst state's code")
	fs.BoolVar(&o.json, "json", false, "with -once, print a line of JSON for each id instead")
	fs.StringVar(&o.hook, "on-change", "", "run this `program` at each transition")
	fs.DurationVar(&o.hookTimeout, "hook-timeout", 30*time.Second, "`time` that one run of it may take")
	fs.IntVar(&o.hookJobs, "hook-jobs", 4, "at most `N` of them run at the same time")
	fs.StringVar(&o.Hold, "hold", "", "honour the holds in this `directory`")
	fs.DurationVar(&o.HoldMax, "hold-max", time.Hour, "most `time` that a hold is honoured, from its taking")
	o.ready = env.ReadyFlag(fs)
	return fs
}

// check refuses what does not go together, and finds the hook.
func (o *options) check() (err error) {
	for name, d := range map[string]time.Duration{
		"ttl-max": o.TTLMax, "timeout-max": o.TimeoutMax, "stopped-max": o.StoppedMax,
		"hook-timeout": o.hookTimeout, "hold-max": o.HoldMax,
	} {
		if d <= 0 {
			return cli.Usagef("-%s: want more than 0", name)
		}
	}
	switch {
	case len(o.Paths) == 0:
		return cli.Usagef("no PATH: want a directory or a file ID%s", heartbeat.Suffix)
	case o.Suspect < 0 || o.Grace < 0:
		return cli.Usagef("-suspect, -grace: want no negative time")
	case o.hookJobs < 1:
		return cli.Usagef("-hook-jobs: want at least 1")
	case o.json && !o.Once:
		return cli.Usagef("-json: goes with -once; without it, events are JSON anyway")
	case o.hook != "" && o.Once:
		return cli.Usagef("-on-change: does not go with -once, which knows of no change")
	case o.hook == "":
		return nil
	}
	o.hook, err = hook.Check(o.hook)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, hook.ErrRefused) {
		return cli.Usagef("-on-change: %v", err)
	}
	return err
}

func run(env *cli.Env, args []string) int {
	// A small heap is collected often anyway; this keeps it small.
	debug.SetGCPercent(25)
	var o options
	flags := o.flags(env)
	if code, done := env.Parse(flags, args); done {
		return code
	}
	o.Paths, o.Tool, o.Log = flags.Args(), tool.Name, env.Log
	if err := o.check(); err != nil {
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

// once prints what one look finds.
func once(env *cli.Env, o *options) int {
	o.Emit = func(ev watch.Event) {
		if ev.Kind == watch.Rejected {
			env.Log.Warn(fmt.Sprintf("%s: rejected: %s", ev.ID, ev.Reason), "detail", ev.Detail)
		}
	}
	w, err := watch.Open(o.Options)
	if err != nil {
		return env.Fail(err)
	}
	defer w.Close()
	reports, err := w.Check()
	if err != nil {
		return env.Fail(err)
	}
	if len(reports) == 0 {
		env.Log.Warn("no heartbeat found, and none expected")
	}
	out := watch.Table(reports)
	if o.json {
		out = nil
		for i := range reports {
			var line jsonline.Writer
			reports[i].Append(&line)
			out = append(append(out, line.Bytes()...), '\n')
		}
	}
	if code := env.Print(out); code != cli.ExitOK {
		return code
	}
	return watch.Worst(reports)
}

// serve watches until told to end.
func serve(env *cli.Env, o *options) int {
	lines := watch.NewLines(env.Stdout, env.Log)
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

func newHooks(env *cli.Env, o *options) *hook.Runner {
	cfg := hook.Config{
		Program: o.hook, Timeout: o.hookTimeout, Jobs: o.hookJobs, Keep: "HB_FROM",
		Output: os.Stderr, Warn: func(text string) { env.Log.Warn(text) },
	}
	if dir := env.Getenv("VIGIL_DIR"); dir != "" {
		cfg.Env = []string{"VIGIL_DIR=" + dir}
	}
	return hook.New(cfg)
}

// variables are what a hook is told of a transition: words and numbers of
// ours, and a path of the operator.
func variables(ev *watch.Event) []string {
	vars := []string{"HB_ID=" + ev.ID, "HB_FROM=" + ev.From.String(), "HB_TO=" + ev.To.String(),
		"HB_PID=", "HB_AGE_MS=", "HB_FILE=" + ev.File, "HB_REASON=" + ev.Reason}
	if ev.PID > 0 {
		vars[3] += strconv.Itoa(ev.PID)
	}
	if ev.Beaten {
		vars[4] += strconv.FormatInt(ev.Age.Milliseconds(), 10)
	}
	return vars
}
