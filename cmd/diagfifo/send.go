package main

import (
	"errors"
	"os"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
)

var sendTool = cli.Tool{
	Name:     "send",
	Synopsis: "diagfifo send [-admin] [-timeout TIME] DIR VERB [KEY=VALUE ...]",
	Summary:  "Sends one command to the server of DIR and prints its answer.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "answered with ok"},
		{Code: cli.ExitNo, Meaning: "answered with err"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "nobody serves DIR, no answer in time, or the system refused"},
	},
}

func send(env *cli.Env, args []string) int {
	env = env.Command(sendTool)
	fs := env.Flags()
	admin := fs.Bool("admin", false, "send to ctl.admin")
	timeout := fs.Duration("timeout", 5*time.Second, "wait this `time` for the answer")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() < 2 {
		return env.Usage("want DIR and VERB, have %d arguments", fs.NArg())
	}
	if *timeout <= 0 {
		return env.Usage("-timeout %v: want more than 0", *timeout)
	}
	pairs, err := pairsOf(fs.Args()[2:])
	if err != nil {
		return env.Usage("%v", err)
	}
	answer, data, err := control.Ask(env.Done, *timeout, fs.Arg(0), *admin, fs.Arg(1), pairs)
	var refusal *control.Refusal
	switch {
	case errors.As(err, &refusal):
		return env.Usage("%v", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return env.Fail(fmt.Errorf("%s: no answer within %v", fs.Arg(0), *timeout))
	case err != nil:
		return env.Fail(err)
	case answer.Code != "":
		env.Log.Error(string(answer.Code) + ": " + answer.Text)
		return cli.ExitNo
	}
	line := string(control.AppendReply(nil, "", control.Reply{Pairs: answer.Pairs}, nil))
	line = strings.TrimPrefix(line, "- ")
	if answer.Bytes == 0 {
		return env.Print([]byte(line))
	}
	env.Log.Debug(strings.TrimSpace(line))
	return env.Print(data)
}

// pairsOf reads arguments KEY=VALUE.
func pairsOf(args []string) ([]control.Pair, error) {
	var pairs []control.Pair
	for _, word := range args {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, cli.Usagef("argument %q: want KEY=VALUE", word)
		}
		pairs = append(pairs, control.Pair{Key: key, Value: value})
	}
	return pairs, nil
}
