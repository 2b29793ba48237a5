package main

import (
	"vigil/pkg/cli"
	"vigil/pkg/explain"
	"vigil/pkg/heartbeat"
)

var dumpTool = cli.Tool{
	Name:     "dump",
	Synopsis: "diagfifo dump [-id NAME] -pid N | -pidfile FILE",
	Summary:  "Explains a running process, without stopping it: prints one JSON object, schema " + explain.Schema + ".",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "printed; what could not be read is null, and errors says why"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "there is no such process"},
	},
}

func dump(env *cli.Env, args []string) int {
	env = env.Command(dumpTool)
	var t targetFlags
	fs := env.Flags()
	t.add(fs)
	id := fs.String("id", "", "`name` of the service (default the process id)")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() != 0 {
		return env.Usage("want no argument, have %d", fs.NArg())
	}
	if *id != "" && !heartbeat.ValidID(*id) {
		return env.Usage("-id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", *id)
	}
	target, err := t.open()
	if err != nil {
		return env.Fail(err)
	}
	text, err := explain.DumpTarget(env.Done, *id, target)
	if err != nil {
		return env.Fail(err)
	}
	return env.Print(text)
}
