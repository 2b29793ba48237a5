package hbsend

import (
	"os"
	"strings"
	"time"

	"vigil/pkg/account"
	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/flag"
	"vigil/pkg/heartbeat"
	"vigil/pkg/sender"
)

// options are the flags as given.
type options struct {
	path                                       string
	interval, ttl, holdMax, holdOnTrace, grace time.Duration
	spread                                     float64
	once, withhold, atomic, touch, create      bool
	count, pid                                 int
	id, status, msg, from, pidfile, hold       string
	key, relay, owner, group                   string
	metrics                                    []heartbeat.Metric
	conditions                                 condition.Set
	set                                        map[string]bool
}

// flags is long: a table.
func (o *options) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.id, "id", "", "the `id` to beat for; for a file ID.hb it is the file's name")
	fs.DurationVar(&o.interval, "interval", 5*time.Second, "`time` between beats")
	fs.Float64Var(&o.spread, "jitter", 0.1, "up to this `share` of the interval is added to each wait")
	fs.DurationVar(&o.ttl, "ttl", 0, "ask to be called dead after this `time` of silence")
	fs.BoolVar(&o.once, "once", false, "beat once and leave; wants -interval or -ttl")
	fs.IntVar(&o.count, "count", 0, "leave after `N` beats; 0 for no end")
	fs.StringVar(&o.status, "status", "ok", "`word` to send: ok, starting, degraded or error")
	fs.StringVar(&o.msg, "msg", "", "`text` to send")
	fs.Func("m", "send the number `name=value`; up to 16 times", func(word string) error {
		m, err := sender.ParseMetric(word)
		o.metrics = append(o.metrics, m)
		return err
	})
	fs.StringVar(&o.from, "m-from", "", "send the numbers in `FILE` too, read before each beat: lines of name=value or a JSON object")
	fs.StringVar(&o.key, "key", "", "sign each beat with the key in `FILE`, or in FILE/ID.key if that is a directory")
	fs.IntVar(&o.pid, "pid", 0, "beat for process `N`: silent while it is stopped, one last error when it has ended")
	fs.StringVar(&o.pidfile, "pidfile", "", "like -pid for the process that `FILE` names, over its restarts")
	o.conditionFlags(fs)
	fs.BoolVar(&o.withhold, "withhold", false, "be silent while a condition fails, instead of degraded")
	fs.DurationVar(&o.grace, "grace", time.Minute, "`time` for each condition to hold once before it counts as failed")
	fs.StringVar(&o.hold, "hold", "", "honour holds in `DIR`: a stopped process under a hold is beaten for")
	fs.DurationVar(&o.holdMax, "hold-max", time.Hour, "longest `time` that a hold is honoured")
	fs.DurationVar(&o.holdOnTrace, "hold-on-trace", 0, "while the process is traced it counts as held, for this `time` at most")
	fs.BoolVar(&o.atomic, "atomic", false, "replace the file at each beat instead of overwriting it")
	fs.BoolVar(&o.touch, "touch", false, "write no record, set the modification time of FILE")
	fs.StringVar(&o.relay, "relay", "", "forward the beats of another sender from `FIFO`, or - for standard input")
	fs.BoolVar(&o.create, "create", false, "create the file, for a sender that may not, and leave")
	fs.StringVar(&o.owner, "owner", "", "-create: give the file to `USER`")
	fs.StringVar(&o.group, "group", "", "-create: give the file to `GROUP`")
}

// conditionFlags takes the words of the conditions, but for -pidfile: here that is
// the process to beat for.
func (o *options) conditionFlags(fs *flag.FlagSet) {
	var words flag.FlagSet
	o.conditions.Flags(&words)
	words.VisitAll(func(f *flag.Flag) {
		if fs.Lookup(f.Name) == nil {
			fs.Add(f)
		}
	})
}

// A mode excludes flags: they would say nothing, or something else than they
// seem to.
var modes = []struct {
	name, excludes string
}{
	{"create", "atomic check count fresh exists absent grace hold hold-max hold-on-trace jitter key m m-from msg once pid pidfile ready-fd relay state status stdin touch ttl withhold"},
	{"once", "stdin"},
	{"touch", "atomic key m m-from msg once relay status ttl"},
	{"relay", "check fresh exists absent grace hold-on-trace jitter m m-from msg once pid pidfile state status stdin withhold"},
}

const conditionWords = "fresh check stdin exists absent"

// needs are the flags that say nothing without one of the others.
var needs = []struct{ name, others string }{
	{"owner", "create"}, {"group", "create"},
	{"withhold", conditionWords}, {"grace", conditionWords}, {"state", "fresh"},
	{"hold-on-trace", "pid pidfile"},
}

// settle finds what does not go together, and which values are out of range.
func (o *options) settle(fs *flag.FlagSet) error {
	o.set = map[string]bool{}
	fs.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	for _, m := range modes {
		for _, name := range strings.Split(m.excludes, " ") {
			if o.set[m.name] && o.set[name] {
				return cli.Usagef("-%s and -%s: want one of them", m.name, name)
			}
		}
	}
	for _, n := range needs {
		have := false
		for _, other := range strings.Split(n.others, " ") {
			have = have || o.set[other]
		}
		if o.set[n.name] && !have {
			return cli.Usagef("-%s: wants one of: %s", n.name, n.others)
		}
	}
	switch {
	case o.once && !o.set["interval"] && !o.set["ttl"]:
		return cli.Usagef("-once: wants -interval or -ttl, for a reader to know when the next beat is due")
	case o.interval < time.Millisecond:
		return cli.Usagef("-interval %v: want at least 1ms", o.interval)
	case o.ttl < 0 || o.set["ttl"] && o.ttl < time.Millisecond:
		return cli.Usagef("-ttl %v: want at least 1ms", o.ttl)
	case !(o.spread >= 0 && o.spread <= 1):
		return cli.Usagef("-jitter %v: want a share from 0 to 1", o.spread)
	case o.count < 0:
		return cli.Usagef("-count %d: want at least 0", o.count)
	case o.pid < 0 || o.set["pid"] && o.pid == 0:
		return cli.Usagef("-pid %d: want a process id", o.pid)
	case o.pid != 0 && o.pidfile != "":
		return cli.Usagef("-pid and -pidfile: want one of them")
	case o.grace < 0:
		return cli.Usagef("-grace %v: want 0 or more", o.grace)
	case o.holdMax <= 0:
		return cli.Usagef("-hold-max %v: want more than 0", o.holdMax)
	case o.set["hold-on-trace"] && o.holdOnTrace < time.Millisecond:
		return cli.Usagef("-hold-on-trace %v: want at least 1ms", o.holdOnTrace)
	case o.set["id"] && !heartbeat.ValidID(o.id):
		return cli.Usagef("-id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", o.id)
	}
	return nil
}

// patience is how long the first beat waits for the programs of -check: a moment, so
// that it need not say that nothing is known yet; and for each as long as it may take,
// where the first beat is the last.
func (o *options) patience() time.Duration {
	if o.once {
		return 24 * time.Hour
	}
	return min(time.Second, o.interval)
}

// record gives the members that stay the same in every beat.
func (o *options) record() (r heartbeat.Record, err error) {
	status, err := heartbeat.ParseStatus(o.status)
	if err != nil || status > heartbeat.Error {
		return r, cli.Usagef("-status %q: want ok, starting, degraded or error", o.status)
	}
	r = heartbeat.Record{
		PID: os.Getpid(), StartMS: time.Now().UnixMilli(), Status: status, Msg: o.msg, Metrics: o.metrics, CRC: true,
		IntervalMS: o.interval.Milliseconds(), TTLMS: o.ttl.Milliseconds(),
	}
	if o.once && !o.set["interval"] {
		r.IntervalMS = 0 // nobody said when the next one comes
	}
	// The greatest record that may come of it has to have room.
	probe := r
	const digits = "0000000000000000000000000000000000000000000000000000000000000000"
	probe.ID, probe.Boot = digits, digits[:32]
	probe.Seq, probe.TSMS, probe.BTMS = 1<<64-1, 1<<50, 1<<41
	if o.key != "" {
		probe.Sig = digits
	}
	_, err = heartbeat.AppendBlock(nil, &probe, 0)
	if err == nil && o.from != "" {
		for i := len(o.metrics); i < heartbeat.MaxMetrics; i++ {
			name := string(rune('a'+i)) + digits[:63]
			probe.Metrics = append(probe.Metrics[:len(probe.Metrics):len(probe.Metrics)], heartbeat.Metric{Name: name, Value: -1.2345678901234567e-100})
		}
		_, err = heartbeat.AppendBlock(nil, &probe, 0)
	}
	if err != nil {
		return r, cli.Usagef("record: %v", err)
	}
	return r, nil
}

// target finds out what the argument is, and the id that goes with it.
func (o *options) target() (file bool, err error) {
	id, named := heartbeat.FileID(o.path[strings.LastIndexByte(o.path, '/')+1:])
	switch {
	case o.touch:
		if o.id == "" && named {
			o.id = id
		}
		if o.id == "" && o.hold != "" {
			return false, cli.Usagef("%s: -touch with -hold: wants -id, to know whose holds count", o.path)
		}
		return true, nil
	case strings.HasSuffix(o.path, heartbeat.Suffix) || o.create:
		switch {
		case !named:
			return true, cli.Usagef("%s: file name: want ID%s with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -", o.path, heartbeat.Suffix)
		case o.id != "" && o.id != id:
			return true, cli.Usagef("-id %s: the file's name says %s", o.id, id)
		}
		o.id = id
		return true, nil
	case o.id == "":
		return false, cli.Usagef("%s: file name: want ID%s with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -; a FIFO wants -id", o.path, heartbeat.Suffix)
	case o.atomic:
		return false, cli.Usagef("-atomic: wants a file ID%s", heartbeat.Suffix)
	}
	return false, nil
}

// precreate is -create.
func (o *options) precreate() error {
	if _, err := o.target(); err != nil {
		return err
	}
	uid, gid := -1, -1
	var err error
	if o.owner != "" {
		if uid, err = account.User(o.owner); err != nil {
			return err
		}
	}
	if o.group != "" {
		if gid, err = account.Group(o.group); err != nil {
			return err
		}
	}
	return heartbeat.Create(o.path, o.interval.Milliseconds(), uid, gid)
}
