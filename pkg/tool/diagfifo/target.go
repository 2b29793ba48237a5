package diagfifo

import (
	"errors"
	"strconv"

	"vigil/pkg/cli"
	"vigil/pkg/explain"
	"vigil/pkg/flag"
)

// targetFlags say which process is meant.
type targetFlags struct {
	pid     int
	pidfile string
}

func (t *targetFlags) add(fs *flag.FlagSet) {
	fs.Func("pid", "explain process `N`, and never another one that gets its number", func(s string) (err error) {
		t.pid, err = number(s)
		return err
	})
	fs.StringVar(&t.pidfile, "pidfile", "", "explain the process that `FILE` names, over its restarts")
}

var errPID = errors.New("want a process id")

func (t *targetFlags) open() (*explain.Target, error) {
	if (t.pid != 0) == (t.pidfile != "") {
		return nil, cli.Usagef("want one of -pid and -pidfile")
	}
	if t.pidfile != "" {
		return explain.ByPidfile(t.pidfile), nil
	}
	return explain.ByPID(t.pid)
}

func number(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return 0, errPID
	}
	return int(n), nil
}
