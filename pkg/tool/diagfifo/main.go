// Package diagfifo reads commands from a FIFO and explains a running process.
package diagfifo

import "vigil/pkg/cli"

var tool = cli.Tool{
	Name:     "diagfifo",
	Synopsis: "diagfifo [flags] DIR | diagfifo send|dump|sample|hold|renew|release [flags] ...",
	Summary:  "Reads commands from DIR/ctl and DIR/ctl.admin and explains a running process, without stopping it.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end, by SIGTERM or by the verb quit, or by -leave"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "the directory was refused or is served already, or there is no such process"},
	},
}

// subcommands need no server of their own; a directory of such a name is
// served as ./send.
var subcommands = map[string]func(env *cli.Env, args []string) int{
	"send": send, "dump": dump, "sample": sample, "hold": take, "renew": renew, "release": release,
}

// Main is the program.
func Main() { cli.Main(tool, run) }

func run(env *cli.Env, args []string) int {
	if len(args) > 0 && subcommands[args[0]] != nil {
		return subcommands[args[0]](env, args[1:])
	}
	return serve(env, args)
}
