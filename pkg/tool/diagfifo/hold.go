package diagfifo

import (
	"os"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/explain"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
)

var holdTool = cli.Tool{
	Name:     "hold",
	Synopsis: "diagfifo hold -dir DIR [-wait TOOL,...] [-wait-for TIME] ID TTL [REASON ...]",
	Summary:  "Holds ID for the time TTL: its silence is excused until then, or until the release.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "held, and acknowledged by all of -wait"},
		{Code: cli.ExitNo, Meaning: "somebody else holds it; or held, and not acknowledged by all of -wait"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "the directory was refused"},
	},
}

func take(env *cli.Env, args []string) int {
	l := &lease{env: env.Command(holdTool)}
	flags := l.flags()
	wait := flags.String("wait", "", "wait until the running `TOOL,...` have acknowledged the hold")
	patience := flags.Duration("wait-for", 10*time.Second, "wait this `time` at most")
	if code, done := l.env.Parse(flags, args); done {
		return code
	}
	tools, err := split(*wait)
	if err == nil {
		err = l.open(flags.Args(), 2, 1000)
	}
	if err != nil {
		return l.usage(err)
	}
	reason := strings.Join(flags.Args()[2:], " ")
	if reason == "" {
		reason = "none given"
	}
	taken, err := hold.Take(l.dir, l.id, user(env), reason, l.ttl)
	if err != nil {
		return l.fail(err)
	}
	// Before the wait: whoever is interrupted still has the nonce.
	if code := l.print(explain.LeasePairs(taken)); code != cli.ExitOK {
		return code
	}
	missing := l.await(taken, tools, *patience)
	if len(missing) == 0 {
		return cli.ExitOK
	}
	env.Log.Error(fmt.Sprintf("%s: held, but not acknowledged by %s; the hold stays until its end or its release", l.id, strings.Join(missing, ", ")))
	return cli.ExitNo
}

// await gives those of tools that have not acknowledged in time.
func (l *lease) await(taken hold.Lease, tools []string, patience time.Duration) (missing []string) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		missing = hold.Missing(l.dir, l.id, taken.Nonce, tools)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-l.env.Done:
			return missing
		case <-limit.C:
			return missing
		case <-look.C:
		}
	}
}

// split reads a list of tools; their names become parts of file names.
func split(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	tools := strings.Split(list, ",")
	for _, tool := range tools {
		if !heartbeat.ValidID(tool) {
			return nil, cli.Usagef("-wait %q: want names of tools with commas between them", list)
		}
	}
	return tools, nil
}

// user names who takes a hold, to show; nothing relies on it.
func user(env *cli.Env) string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if user := env.Getenv(name); user != "" {
			return user
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
