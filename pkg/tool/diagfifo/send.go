package diagfifo

import (
	"errors"
	"os"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/flag"
	"vigil/pkg/fmt"
)

var sendTool = cli.Tool{
	Name:     "send",
	Synopsis: "diagfifo send [-admin | -socket] [-timeout TIME] DIR VERB [KEY=VALUE ...]",
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
	bySocket := fs.Bool("socket", false, "send to the socket")
	timeout := fs.Duration("timeout", 0, "wait this `time` for the answer (default 5s, and longer for verbs that take longer)")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() < 2 {
		return env.Usage("want DIR and VERB, have %d arguments", fs.NArg())
	}
	given := false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "timeout" })
	if given && *timeout <= 0 {
		return env.Usage("-timeout %v: want more than 0", *timeout)
	}
	if *admin && *bySocket {
		return env.Usage("want one of -admin and -socket")
	}
	pairs, err := pairsOf(fs.Args()[2:])
	if err != nil {
		return env.Usage("%v", err)
	}
	if !given {
		*timeout = patience(fs.Arg(1), pairs)
	}
	var answer control.Answer
	var data []byte
	if *bySocket {
		answer, data, err = control.AskSocket(env.Done, *timeout, fs.Arg(0), fs.Arg(1), pairs)
	} else {
		answer, data, err = control.Ask(env.Done, *timeout, fs.Arg(0), *admin, fs.Arg(1), pairs)
	}
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

// patience is how long an answer may take, by what was asked. That the server has
// gone is noticed anyway.
func patience(verb string, pairs []control.Pair) time.Duration {
	const most = 5 * time.Second
	switch verb {
	case "core", "run", "stacks":
		return 12 * time.Minute
	}
	span, _ := control.Find(pairs, "for")
	if d, err := time.ParseDuration(span); err == nil && d > 0 {
		return most + d
	}
	return most
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
