// Package corecap captures a core of a live process, which goes on afterwards.
package corecap

import (
	"errors"
	"os"
	"strconv"

	"vigil/pkg/capture"
	"vigil/pkg/cli"
	"vigil/pkg/crash"
	"vigil/pkg/fmt"
)

const exitPartial = 2

var tool = cli.Tool{
	Name:     "corecap",
	Synopsis: "corecap [flags] PID | corecap stacks [flags] PID|CORE | corecap run -spool DIR [flags] -- PROG",
	Summary:  "Captures an ELF core of a live process, which goes on afterwards.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "the core is complete"},
		{Code: exitPartial, Meaning: "the core is partial: a limit or the disk had no room for all memory"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "no core: no such process, it must not be captured, or the output failed"},
	},
	Starts: true, // corecap run
}

// Main is the program.
func Main() { cli.Main(tool, run) }

// subcommands do something else than capture.
var subcommands = map[string]func(env *cli.Env, args []string) int{
	"stacks": printStacks, "handler": handleCrash, "prune": prune, "pattern": pattern,
	crash.Unwinder: unwindFenced, "run": runUnder, starter: runTraced, finisher: finish,
}

func run(env *cli.Env, args []string) int {
	if len(args) > 0 && subcommands[args[0]] != nil {
		return subcommands[args[0]](env, args[1:])
	}
	return captureLive(env, args)
}

func parsePID(s string) (int, error) {
	pid, err := strconv.ParseInt(s, 10, 32)
	switch {
	case err != nil || pid <= 0:
		return 0, errors.New("PID " + strconv.Quote(s) + ": not the number of a process")
	case int(pid) == os.Getpid():
		return 0, errors.New("PID " + s + ": corecap does not capture itself")
	}
	return int(pid), nil
}

// offer names what can be had without ptrace, where that was denied.
func offer(err error) error {
	if d, ok := errors.AsType[*capture.Denied](err); ok {
		return fmt.Errorf("%w; without ptrace: diagfifo dump -pid %d", err, d.PID)
	}
	return err
}
