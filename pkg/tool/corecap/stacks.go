package corecap

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"vigil/pkg/capture"
	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/stacks"
)

var stacksTool = cli.Tool{
	Name:     "stacks",
	Synopsis: "corecap stacks [flags] PID|CORE",
	Summary:  "Prints the stacks of all threads of a process, of one moment, or of those in a core.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "all threads were told; where a stack is cut, the output says so"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "no such process or core, or it must not be captured"},
	},
}

func printStacks(env *cli.Env, args []string) int {
	env = env.Command(stacksTool)
	flags := env.Flags()
	force := flags.Bool("force", false, "also stop a process that is not dumpable")
	asJSON := flags.Bool("json", false, "print JSON lines: one for the process, then one for each thread")
	limit := stacks.DefaultLimit
	flags.IntVar(&limit, "n", limit, "print at most `N` frames of a thread")
	if code, done := env.Parse(flags, args); done {
		return code
	}
	undisturbed()
	switch {
	case flags.NArg() != 1:
		return env.Usage("want one PID or CORE, have %d", flags.NArg())
	case limit < 1:
		return env.Usage("-n %d: not a number of frames", limit)
	}
	p, err := readStacks(flags.Arg(0), *force, limit)
	if err != nil {
		return env.Fail(err)
	}
	for _, t := range p.Threads {
		if t.State != 0 {
			env.Log.Warn("a thread did not stop", "tid", t.TID, "state", string(rune(t.State)))
		}
	}
	write := p.Text
	if *asJSON {
		write = p.JSON
	}
	if err := write(env.Stdout); err != nil {
		return env.Fail(openError("stdout", err))
	}
	return cli.ExitOK
}

// readStacks takes a number for a PID and all else for the path of a core.
func readStacks(arg string, force bool, limit int) (*stacks.Process, error) {
	if _, err := strconv.ParseInt(arg, 10, 64); err == nil {
		pid, err := parsePID(arg)
		if err != nil {
			return nil, cli.Usagef("%v", err)
		}
		target, err := capture.Open(pid, force)
		if err != nil {
			return nil, offer(err)
		}
		defer target.Close()
		p, err := stacks.Live(target, limit)
		return p, offer(err)
	}
	f, err := os.OpenFile(arg, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, openError(arg, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, openError(arg, err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", arg)
	}
	return stacks.FromCore(f, arg, limit)
}

// openError names the file once.
func openError(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
