package diagfifo

import (
	"errors"
	"io/fs"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/flag"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

var (
	renewTool = cli.Tool{
		Name:     "renew",
		Synopsis: "diagfifo renew -dir DIR -nonce NONCE ID TTL",
		Summary:  "Lets the hold on ID end TTL from now.",
		Exits: []cli.Exit{
			{Code: cli.ExitOK, Meaning: "renewed"},
			{Code: cli.ExitNo, Meaning: "nothing is held, or not by that nonce"},
			{Code: cli.ExitUsage, Meaning: "wrong usage"},
			{Code: cli.ExitSystem, Meaning: "the directory was refused"},
		},
	}
	releaseTool = cli.Tool{
		Name:     "release",
		Synopsis: "diagfifo release -dir DIR -nonce NONCE|-force ID",
		Summary:  "Ends the hold on ID.",
		Exits: []cli.Exit{
			{Code: cli.ExitOK, Meaning: "released"},
			{Code: cli.ExitNo, Meaning: "nothing is held, or not by that nonce"},
			{Code: cli.ExitUsage, Meaning: "wrong usage"},
			{Code: cli.ExitSystem, Meaning: "the directory was refused"},
		},
	}
)

// lease is what hold, renew and release have in common.
type lease struct {
	env  *cli.Env
	path string
	id   string
	ttl  time.Duration
	dir  *rundir.Dir
}

func (l *lease) flags() *flag.FlagSet {
	flags := l.env.Flags()
	flags.StringVar(&l.path, "dir", "", "the `DIR` of the holds")
	return flags
}

// open reads the arguments, of which there are least at least, and opens the
// directory.
func (l *lease) open(args []string, least, most int) (err error) {
	switch {
	case l.path == "":
		return cli.Usagef("want -dir")
	case len(args) < least || len(args) > most:
		return cli.Usagef("wrong number of arguments: %d", len(args))
	case !heartbeat.ValidID(args[0]):
		return cli.Usagef("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", args[0])
	}
	l.id = args[0]
	if least > 1 {
		if l.ttl, err = explain.ParseTTL(args[1]); err != nil {
			return cli.Usagef("%v", err)
		}
	}
	l.dir, err = rundir.Open(l.path)
	return err
}

func (l *lease) print(pairs []control.Pair) int {
	return l.env.Print(control.AppendReply(nil, l.id, control.Reply{Pairs: pairs}, nil))
}

// fail says why a hold could not be taken, renewed or released.
func (l *lease) fail(err error) int {
	var held *hold.HeldError
	switch {
	case errors.As(err, &held):
		l.env.Log.Error(l.id + ": " + explain.HeldText(held.Lease))
	case errors.Is(err, fs.ErrNotExist):
		l.env.Log.Error(l.id + ": nothing is held")
	case errors.Is(err, hold.ErrNotYours):
		l.env.Log.Error(err.Error())
	default:
		return l.env.Fail(err)
	}
	return cli.ExitNo
}

// usage says what is wrong with the call, with the usage line if it was the
// caller's fault.
func (l *lease) usage(err error) int {
	var u *cli.UsageError
	if errors.As(err, &u) {
		return l.env.Usage("%v", err)
	}
	return l.env.Fail(err)
}

func renew(env *cli.Env, args []string) int {
	l := &lease{env: env.Command(renewTool)}
	flags := l.flags()
	nonce := flags.String("nonce", "", "the `NONCE` that hold has printed")
	if code, done := l.env.Parse(flags, args); done {
		return code
	}
	err := l.open(flags.Args(), 2, 2)
	if err == nil && *nonce == "" {
		err = cli.Usagef("want -nonce")
	}
	if err != nil {
		return l.usage(err)
	}
	renewed, err := hold.Renew(l.dir, l.id, *nonce, l.ttl)
	if err != nil {
		return l.fail(err)
	}
	return l.print(explain.LeasePairs(renewed))
}

func release(env *cli.Env, args []string) int {
	l := &lease{env: env.Command(releaseTool)}
	flags := l.flags()
	nonce := flags.String("nonce", "", "the `NONCE` that hold has printed")
	force := flags.Bool("force", false, "release it whosever it is")
	if code, done := l.env.Parse(flags, args); done {
		return code
	}
	err := l.open(flags.Args(), 1, 1)
	if err == nil && (*nonce == "") == !*force {
		err = cli.Usagef("want one of -nonce and -force")
	}
	if err != nil {
		return l.usage(err)
	}
	released, err := hold.Release(l.dir, l.id, *nonce, *force)
	if err != nil {
		return l.fail(err)
	}
	return l.print(explain.WhosePairs(released))
}
