package hbwatch

import (
	"os"
	"strconv"
	"sync/atomic"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/hook"
	"vigil/pkg/watch"
)

// hookConfig is what the programs have in common.
func hookConfig(env *cli.Env, o *options, program string) hook.Config {
	cfg := hook.Config{
		Program: program, Timeout: o.hookTimeout, Jobs: o.hookJobs, Keep: "HB_FROM",
		Output: os.Stderr, Warn: func(text string) { env.Log.Warn(text) },
	}
	// Where the directories are that people chose: vigil-incident needs both.
	for _, name := range []string{"VIGIL_DIR", "VIGIL_SPOOL"} {
		if dir := env.Getenv(name); dir != "" {
			cfg.Env = append(cfg.Env, name+"="+dir)
		}
	}
	return cfg
}

func newHooks(env *cli.Env, o *options) *hook.Runner { return hook.New(hookConfig(env, o, o.hook)) }

// The exit statuses of -confirm that mean something.
const (
	confirmDead  = 0
	confirmAlive = 1
)

// confirming has -confirm asked, if it is given. The caller calls end when the watcher
// does nothing more.
func (o *options) confirming(env *cli.Env) (end func()) {
	if o.confirm == "" {
		return func() {}
	}
	var watcher atomic.Pointer[watch.Watcher]
	cfg := hookConfig(env, o, o.confirm)
	cfg.Answered = func(id string, a hook.Answer) {
		w, opinion := watcher.Load(), watch.NoOpinion
		switch {
		case a.Err == nil && a.Status == confirmDead:
			opinion = watch.SaysDead
		case a.Err == nil && a.Status == confirmAlive:
			opinion = watch.SaysAlive
		default:
			env.Log.Warn(fmt.Sprintf("%s: asked about %s: %s", o.confirm, id, a.Fault()))
		}
		w.Answer(id, opinion)
	}
	runner := hook.New(cfg)
	o.ConfirmMax = o.hookTimeout
	o.Confirm = func(w *watch.Watcher, ev watch.Event) {
		watcher.Store(w)
		runner.Submit(ev.ID, variables(&ev))
	}
	return func() { runner.Close(0) }
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
