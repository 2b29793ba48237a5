// Package hbsend sends heartbeats with jitter into a file.
package hbsend

import (
	"errors"
	"runtime"

	"vigil/pkg/cli"
	"vigil/pkg/sender"
)

var tool = cli.Tool{
	Name:     "hbsend",
	Synopsis: "hbsend [flags] ID.hb|FIFO|- | hbsend -touch [flags] FILE | hbsend -create [flags] ID.hb",
	Summary:  "Sends heartbeats with jitter into a file, a FIFO or to standard output.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end, or all beats sent; -create: the file is there"},
		{Code: cli.ExitNo, Meaning: "the process named by -pid, or the input of -relay, has ended"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "a file or directory was refused, another sender has the file, or nobody reads"},
	},
}

// Main is the program.
func Main() { cli.Main(tool, run) }

func run(env *cli.Env, args []string) int {
	// There is one thing to do at a time. A second processor would be woken at
	// each beat to find nothing: that doubles what a beat costs.
	runtime.GOMAXPROCS(1)
	var o options
	fs := env.Flags()
	o.flags(fs)
	ready := env.ReadyFlag(fs)
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if err := o.settle(fs); err != nil {
		return env.Fail(err)
	}
	if fs.NArg() != 1 {
		return env.Usage("want one ID.hb, FIFO or -, have %d", fs.NArg())
	}
	o.path = fs.Arg(0)
	if o.create {
		if err := o.precreate(); err != nil {
			return env.Fail(err)
		}
		return cli.ExitOK
	}
	defer o.conditions.Close()
	s, err := o.sender(env)
	if err != nil {
		return env.Fail(err)
	}
	s.Ready = ready.Signal
	if s.Inspector != nil {
		if s.Inspector.Holds != nil {
			_, _ = s.Inspector.Holds.Refresh(s.Clock.Now()) // the sender looks there too, and says what is wrong
		}
		o.conditions.Await(env.Done, o.patience(), s.Inspector)
	}
	err = s.Run(env.Done)
	switch {
	case errors.Is(err, sender.ErrGone):
		return cli.ExitNo
	case err != nil:
		return env.Fail(err)
	}
	return cli.ExitOK
}
