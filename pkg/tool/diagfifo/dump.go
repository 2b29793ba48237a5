package diagfifo

import (
	"errors"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/heartbeat"
)

var exitsOfVerbs = []cli.Exit{
	{Code: cli.ExitOK, Meaning: "printed; what could not be read is null or -"},
	{Code: cli.ExitUsage, Meaning: "wrong usage"},
	{Code: cli.ExitSystem, Meaning: "there is no such process"},
}

var (
	dumpTool = cli.Tool{
		Name:     "dump",
		Synopsis: "diagfifo dump [-id NAME] -pid N | -pidfile FILE [KEY=VALUE ...]",
		Summary:  "Explains a running process, without stopping it: prints one JSON object, schema " + explain.Schema + ".",
		Exits:    exitsOfVerbs,
	}
	sampleTool = cli.Tool{
		Name:     "sample",
		Synopsis: "diagfifo sample [-id NAME] -pid N | -pidfile FILE [KEY=VALUE ...]",
		Summary:  "Counts what the threads of a process do, without stopping it: prints folded lines for a flame graph.",
		Exits:    exitsOfVerbs,
	}
)

func dump(env *cli.Env, args []string) int { return once(env.Command(dumpTool), args) }

func sample(env *cli.Env, args []string) int { return once(env.Command(sampleTool), args) }

// once runs the verb that the tool is called after, without a server.
func once(env *cli.Env, args []string) int {
	var t targetFlags
	fs := env.Flags()
	t.add(fs)
	id := fs.String("id", "", "`name` of the service (default none)")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	pairs, err := pairsOf(fs.Args())
	if err == nil && *id != "" && !heartbeat.ValidID(*id) {
		err = cli.Usagef("-id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", *id)
	}
	if err != nil {
		return env.Usage("%v", err)
	}
	target, err := t.open()
	if err != nil {
		return env.Fail(err)
	}
	process := &explain.Process{ID: *id, Target: target}
	r, err := control.Once(env.Done, process.Verbs(), env.Tool.Name, pairs)
	var refusal *control.Refusal
	if errors.As(err, &refusal) && refusal.Code == control.Usage {
		return env.Usage("%v", err)
	}
	if err != nil {
		return env.Fail(err)
	}
	return env.Print(r.Data)
}
