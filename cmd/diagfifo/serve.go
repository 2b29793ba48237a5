package main

import (
	"errors"
	"path"
	"strconv"
	"strings"
	"syscall"

	"vigil/pkg/account"
	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/flag"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

// options are the flags of a server as given.
type options struct {
	target  targetFlags
	id      string
	hold    string
	out     string
	keep    int
	most    int64 // bytes
	rate    int
	group   string
	socket  bool
	ready   *cli.Ready
	present map[string]bool
}

func serve(env *cli.Env, args []string) int {
	o := options{most: 16 << 20}
	fs := env.Flags()
	o.target.add(fs)
	fs.StringVar(&o.id, "id", "", "`name` of the service in answers and holds (default the name of DIR)")
	fs.StringVar(&o.hold, "hold", "", "serve hold and release, acting in `DIR`")
	fs.StringVar(&o.out, "out", "", "keep dumps in `DIR`, as ID_PID_TIME.json")
	fs.IntVar(&o.keep, "keep", 10, "with -out: the latest `N` dumps stay")
	fs.Func("max-bytes", "with -out: they have `SIZE` bytes at most, with K, M or G; 0 for no limit (default 16M)", func(s string) (err error) {
		o.most, err = parseSize(s)
		return err
	})
	fs.StringVar(&o.group, "group", "", "let the group `NAME` use ctl and read the answers")
	fs.BoolVar(&o.socket, "socket", false, "serve the socket DIR/s, too")
	fs.IntVar(&o.rate, "rate", 20, "take `N` commands a second from each FIFO, twice as many at once; 0 for no limit")
	o.ready = env.ReadyFlag(fs)
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return env.Usage("want one DIR, have %d", fs.NArg())
	}
	o.present = map[string]bool{}
	fs.Visit(func(f *flag.Flag) { o.present[f.Name] = true })
	config, err := o.config(fs.Arg(0))
	if err != nil {
		return env.Fail(err)
	}
	config.Log = env.Log
	server, err := control.Listen(config)
	if err == nil {
		if err = o.ready.Signal(); err != nil {
			_ = server.Close()
		} else {
			err = server.Serve(env.Done)
		}
	}
	if err != nil {
		return env.Fail(err)
	}
	return cli.ExitOK
}

// config checks the flags and opens what they name.
func (o *options) config(dir string) (c control.Config, err error) {
	if o.id == "" {
		if o.id, err = baseName(dir); err != nil {
			return c, err
		}
	}
	switch {
	case !heartbeat.ValidID(o.id):
		return c, cli.Usagef("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -: see -id", o.id)
	case o.keep < 1:
		return c, cli.Usagef("-keep %d: want at least 1", o.keep)
	case o.present["keep"] && o.out == "":
		return c, cli.Usagef("-keep: wants -out")
	case o.present["max-bytes"] && o.out == "":
		return c, cli.Usagef("-max-bytes: wants -out")
	case o.rate < 0:
		return c, cli.Usagef("-rate %d: want at least 0", o.rate)
	}
	process := &explain.Process{ID: o.id}
	if process.Target, err = o.target.open(); err != nil {
		return c, err
	}
	if o.out != "" {
		if process.Spool, err = explain.OpenSpool(o.out, o.keep, o.most); err != nil {
			return c, err
		}
	}
	c = control.Config{Dir: dir, ID: o.id, Rate: float64(o.rate), Socket: o.socket, Verbs: process.Verbs()}
	if o.group != "" {
		if c.Group, err = account.Group(o.group); err != nil {
			return c, cli.Usagef("-group: %v", err)
		}
	}
	if o.hold != "" {
		leases, err := explain.OpenLeases(o.hold, o.id)
		if err != nil {
			return c, err
		}
		process.Held = leases.Held
		c.Verbs = append(c.Verbs, leases.Verbs()...)
	}
	return c, nil
}

// parseSize reads a number of bytes.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMG")
	unit := int64(1)
	switch s[len(digits):] {
	case "":
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	default:
		unit = 0
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 || unit == 0 {
		return 0, errors.New("want bytes, as 500K, 16M or 1G")
	}
	return n * unit, nil
}

// baseName is the last component of a path, also of "." and "x/..".
func baseName(dir string) (string, error) {
	if !path.IsAbs(dir) {
		here, err := syscall.Getwd()
		if err != nil {
			return "", fmt.Errorf("working directory: %w", err)
		}
		dir = path.Join(here, dir)
	}
	return path.Base(path.Clean(dir)), nil
}
