package hbwatch

import (
	"errors"
	"io/fs"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/detector"
	"vigil/pkg/flag"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hook"
	"vigil/pkg/watch"
)

// options are the flags that are not those of watch.
type options struct {
	watch.Options
	json        bool
	quiet       bool         // -q
	failOn      *watch.State // nil: the codes of the states
	hook        string
	confirm     string
	hookTimeout time.Duration
	hookJobs    int
	ready       *cli.Ready
	outputs     outputs
}

func (o *options) flags(env *cli.Env) *flag.FlagSet {
	fs := env.Flags()
	o.Timeouts, o.Owners = map[string]time.Duration{}, map[string]int{}
	fs.Func("timeout", "dead after this much silence, for all or for one id: `[ID=]D` (may be given again)", func(s string) error {
		id, d, err := watch.ParseTimeout(s)
		if id == "" {
			o.Timeout = d
		} else {
			o.Timeouts[id] = d
		}
		return err
	})
	fs.Func("detector", "`NAME[:PARAM=VALUE,...]` finds the time to dead where neither -timeout nor the record says:\n"+detector.Names()+" (default "+detector.Kinds[0].Name+"); tune -h explains them", func(s string) error {
		kind, maker, err := detector.Parse(s)
		if err == nil {
			o.Detector, o.EachBeat = maker, kind.EachBeat
		}
		return err
	})
	fs.DurationVar(&o.TTLMax, "ttl-max", time.Hour, "most `time` that a record's own ttl_ms is granted")
	fs.DurationVar(&o.TimeoutMax, "timeout-max", 10*time.Minute, "most `time` to dead where neither -timeout nor the record says")
	fs.DurationVar(&o.Suspect, "suspect", 0, "suspect after this `time` (default 3/5 of the time to dead, and at least halfway to it from the beat due)")
	fs.DurationVar(&o.Grace, "grace", 0, "`time` to be seen first, or to be done with starting (default twice the time to dead)")
	fs.DurationVar(&o.StoppedMax, "stopped-max", 5*time.Minute, "an expected id is dead this `time` after it said stopping")
	fs.DurationVar(&o.Forget, "forget", 24*time.Hour, "forget an id, unless it is expected, that has been dead or stopped for this `time`; 0: never")
	fs.Func("expect", "these ids are missed when there is no file of theirs: `ID,...` (may be given again)", func(s string) error {
		ids, err := watch.ParseExpect(s)
		o.Expect = append(o.Expect, ids...)
		return err
	})
	fs.Func("owner", "a file of this id may belong to this user, too: `ID=uid` (may be given again)", func(s string) error {
		id, uid, err := watch.ParseOwner(s)
		o.Owners[id] = uid
		return err
	})
	fs.StringVar(&o.Key, "key", "", "take only records signed with the key in this `file`, or with ID.key in this directory")
	fs.BoolVar(&o.Bare, "bare", false, "any file is a heartbeat that beats when somebody touches it; its id is its name")
	fs.BoolVar(&o.Once, "once", false, "look once, print a table and leave with the worst state's code")
	fs.Func("fail-on", "with -once, leave with 1 if the worst is this `state` or a worse one, else with 0: suspect or dead", func(s string) error {
		for _, state := range []watch.State{watch.Suspect, watch.Dead} {
			if s == state.String() {
				o.failOn = &state
				return nil
			}
		}
		return errors.New("want suspect or dead")
	})
	fs.BoolVar(&o.json, "json", false, "with -once, print a line of JSON for each id instead")
	fs.StringVar(&o.Memory, "state", "", "remember in this `file` over a restart; with -once -q, print what has changed since the last run")
	fs.StringVar(&o.hook, "on-change", "", "run this `program` at each transition")
	fs.StringVar(&o.confirm, "confirm", "", "ask this `program` before an id is found dead: exit status 1 says that it lives")
	fs.DurationVar(&o.hookTimeout, "hook-timeout", 30*time.Second, "`time` that one run of -on-change or -confirm may take")
	fs.IntVar(&o.hookJobs, "hook-jobs", 4, "at most `N` runs of each at the same time")
	fs.StringVar(&o.Hold, "hold", "", "honour the holds in this `directory`")
	fs.DurationVar(&o.HoldMax, "hold-max", time.Hour, "most `time` that a hold is honoured, from its taking")
	o.ready = env.ReadyFlag(fs)
	o.outputs.flags(fs)
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
	case o.Suspect < 0 || o.Grace < 0 || o.Forget < 0:
		return cli.Usagef("-suspect, -grace, -forget: want no negative time")
	case o.hookJobs < 1:
		return cli.Usagef("-hook-jobs: want at least 1")
	case o.failOn != nil && !o.Once:
		return cli.Usagef("-fail-on: goes with -once")
	case o.Bare && o.Key != "":
		return cli.Usagef("-bare: does not go with -key: what is only touched cannot be signed")
	case o.json && !o.Once:
		return cli.Usagef("-json: goes with -once; without it, events are JSON anyway")
	case o.hook != "" && o.Once && o.Memory == "":
		return cli.Usagef("-on-change: goes with -once only if there is a -state, to know of changes")
	}
	if o.hook, err = program("on-change", o.hook); err != nil {
		return err
	}
	o.confirm, err = program("confirm", o.confirm)
	return err
}

// program finds what a flag names, if it names any.
func program(flag, name string) (path string, err error) {
	if name == "" {
		return "", nil
	}
	path, err = hook.Check(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, hook.ErrRefused) {
		return "", cli.Usagef("-%s: %v", flag, err)
	}
	return path, err
}
