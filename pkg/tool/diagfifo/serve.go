package diagfifo

import (
	"errors"
	"os"
	"os/signal"
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
	"vigil/pkg/operate"
	"vigil/pkg/procfs"
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
	run     string
	signals string
	corecap string
	cores   string
	leave   bool
	ready   *cli.Ready
	present map[string]bool
}

func (o *options) add(env *cli.Env, fs *flag.FlagSet) {
	o.target.add(fs)
	fs.StringVar(&o.id, "id", "", "`name` of the service in answers and holds (default the name of DIR)")
	fs.StringVar(&o.hold, "hold", "", "serve hold and release, acting in `DIR`")
	fs.StringVar(&o.out, "out", "", "keep dumps in `DIR`, as ID_PID_TIME.json")
	fs.IntVar(&o.keep, "keep", 10, "with -out: the latest `N` dumps stay")
	o.most = 16 << 20
	fs.Func("max-bytes", "with -out: they have `SIZE` bytes at most, with K, M or G; 0 for no limit (default 16M)", func(s string) (err error) {
		o.most, err = parseSize(s)
		return err
	})
	fs.StringVar(&o.group, "group", "", "let the group `NAME` use ctl and read the answers")
	fs.BoolVar(&o.socket, "socket", false, "serve the socket DIR/s, too")
	fs.StringVar(&o.run, "run", "", "serve run, for the programs in `DIR`")
	fs.StringVar(&o.signals, "signals", "", "serve signal, for the signals `NAME,...` if the target catches them")
	fs.StringVar(&o.cores, "cores", "", "serve core, which puts cores in `DIR`")
	fs.StringVar(&o.corecap, "corecap", "", "the `PATH` of corecap (default beside diagfifo, if it is there)")
	fs.BoolVar(&o.leave, "leave", false, "with -pid: leave when that process has ended")
	fs.IntVar(&o.rate, "rate", 20, "take `N` commands a second from each FIFO, twice as many at once; 0 for no limit")
	o.ready = env.ReadyFlag(fs)
}

func serve(env *cli.Env, args []string) int {
	var o options
	fs := env.Flags()
	o.add(env, fs)
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return env.Usage("want one DIR, have %d", fs.NArg())
	}
	o.present = map[string]bool{}
	fs.Visit(func(f *flag.Flag) { o.present[f.Name] = true })
	config, err := o.config(env.Log, fs.Arg(0))
	if err != nil {
		return env.Fail(err)
	}
	done, err := o.end(env.Done)
	if err != nil {
		return env.Fail(err)
	}
	server, err := control.Listen(config)
	if err == nil {
		stop := onSignals(server)
		if err = o.ready.Signal(); err != nil {
			_ = server.Close()
		} else {
			err = server.Serve(done)
		}
		stop()
	}
	if err != nil {
		return env.Fail(err)
	}
	return cli.ExitOK
}

// end is closed when the server has to end: told is, or the process has ended that
// it was to stay for.
func (o *options) end(told <-chan struct{}) (<-chan struct{}, error) {
	if !o.leave {
		return told, nil
	}
	p, err := procfs.OpenProcess(o.target.pid)
	if err != nil {
		return nil, err
	}
	gone, end := make(chan struct{}), make(chan struct{})
	go func() {
		p.Wait()
		close(gone)
	}()
	go func() {
		defer close(end)
		select {
		case <-told:
		case <-gone:
		}
	}()
	return end, nil
}

// onSignals takes a dump at SIGUSR1 and SIGUSR2, as often as they come but one
// at a time. It is for this process to hear them: the one that is explained may
// die of them.
func onSignals(server *control.Server) (stop func()) {
	come := make(chan os.Signal, 1)
	signal.Notify(come, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range come {
			if s == syscall.SIGUSR1 {
				server.Do("dump level=light")
			} else {
				server.Do("dump level=full")
			}
		}
	}()
	return func() {
		signal.Stop(come)
		close(come)
	}
}

// config checks the flags and opens what they name.
func (o *options) config(log *cli.Log, dir string) (c control.Config, err error) {
	if o.id == "" {
		if o.id, err = baseName(dir); err != nil {
			return c, err
		}
	}
	if err := o.check(); err != nil {
		return c, err
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
	c = control.Config{Dir: dir, ID: o.id, Rate: float64(o.rate), Socket: o.socket, Log: log, Verbs: process.Verbs()}
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
	verbs, err := o.operations(process.Target, log)
	c.Verbs = append(append(c.Verbs, verbs...), loglevel(log))
	return c, err
}

func (o *options) check() error {
	switch {
	case !heartbeat.ValidID(o.id):
		return cli.Usagef("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -: see -id", o.id)
	case o.keep < 1:
		return cli.Usagef("-keep %d: want at least 1", o.keep)
	case o.present["keep"] && o.out == "":
		return cli.Usagef("-keep: wants -out")
	case o.present["max-bytes"] && o.out == "":
		return cli.Usagef("-max-bytes: wants -out")
	case o.leave && o.target.pid == 0:
		return cli.Usagef("-leave: wants -pid")
	case o.rate < 0:
		return cli.Usagef("-rate %d: want at least 0", o.rate)
	}
	return nil
}

// operations are the verbs that act on the target, as far as they are allowed.
func (o *options) operations(target *explain.Target, log *cli.Log) (verbs []control.Verb, err error) {
	captures := &operate.Captures{ID: o.id, Target: target, Log: log}
	found, err := captures.Open(o.corecap, o.cores)
	if err != nil {
		return nil, err
	}
	if found {
		verbs = captures.Verbs()
	}
	if o.run != "" {
		programs := &operate.Programs{ID: o.id, Target: target, Log: log}
		if err := programs.Open(o.run); err != nil {
			return nil, err
		}
		verbs = append(verbs, programs.Verbs()...)
	}
	if o.signals != "" {
		signals, err := operate.NewSignals(target, log, o.signals)
		if err != nil {
			return nil, cli.Usagef("-signals: %v", err)
		}
		verbs = append(verbs, signals.Verbs()...)
	}
	return verbs, nil
}

// loglevel changes what this program says itself.
func loglevel(log *cli.Log) control.Verb {
	return control.Verb{
		Name: "loglevel", Admin: true, Keys: []control.Key{{Name: "level", Hint: "error|warning|info|debug"}},
		Help: "how much the server says; without a level, tell it",
		Run: func(c control.Call) (r control.Reply, err error) {
			before, err := log.SetLevel(c.Get("level"))
			if err != nil {
				return r, control.Refuse(control.Usage, "%v", err)
			}
			r.Add("before", before)
			return r, nil
		},
	}
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
