package hbwatch

import (
	"slices"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/hook"
	"vigil/pkg/jsonline"
	"vigil/pkg/watch"
)

// once prints what one look finds; with a memory and -q, only what has changed
// since the last one.
func once(env *cli.Env, o *options) int {
	var hooks *hook.Runner
	if o.hook != "" {
		hooks = newHooks(env, o)
	}
	o.Emit = func(ev watch.Event) {
		switch {
		case ev.Kind == watch.Rejected:
			var more []any
			if ev.Detail != "" {
				more = []any{"detail", ev.Detail}
			}
			env.Log.Warn(fmt.Sprintf("%s: rejected: %s", ev.ID, ev.Reason), more...)
		case ev.Kind == watch.Transition && hooks != nil:
			hooks.Submit(ev.ID, variables(&ev))
		}
	}
	defer o.confirming(env)()
	w, err := watch.Open(o.Options)
	if err != nil {
		return env.Fail(err)
	}
	defer w.Close()
	if hooks != nil {
		// Before the next run may begin. Each of them ends in time, or is ended.
		defer hooks.Close(hooksForever)
	}
	return check(env, o, w)
}

// check looks, prints, and gives the code to leave with.
func check(env *cli.Env, o *options, w *watch.Watcher) int {
	reports, err := w.Check()
	if err != nil {
		return env.Fail(err)
	}
	if len(reports) == 0 {
		env.Log.Warn("no heartbeat found, and none expected")
	}
	shown := reports
	if o.quiet && o.Memory != "" {
		shown = slices.DeleteFunc(slices.Clone(reports), func(r *watch.Report) bool { return !r.Changed })
	}
	if len(shown) > 0 || !o.quiet {
		if code := env.Print(o.render(shown)); code != cli.ExitOK {
			return code
		}
	}
	return o.code(reports)
}

func (o *options) render(reports []*watch.Report) (out []byte) {
	if !o.json {
		return watch.Table(reports)
	}
	var line jsonline.Writer
	for _, r := range reports {
		line.Reset()
		r.Append(&line)
		out = append(append(out, line.Bytes()...), '\n')
	}
	return out
}

// code is what a check leaves with.
func (o *options) code(reports []*watch.Report) int {
	switch {
	case o.failOn == nil:
		return watch.Worst(reports)
	case watch.Reaches(reports, *o.failOn):
		return cli.ExitNo
	}
	return cli.ExitOK
}
