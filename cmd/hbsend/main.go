// Command hbsend sends heartbeats with jitter into a file.
package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/flag"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/sender"
)

var tool = cli.Tool{
	Name:     "hbsend",
	Synopsis: "hbsend [flags] FILE.hb",
	Summary:  "Sends heartbeats with jitter into a file; the file's name without .hb is their id.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told to end, or all beats sent"},
		{Code: cli.ExitNo, Meaning: "the process named by -pid has ended"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "the file or directory was refused, or another sender has the file"},
	},
}

func main() { cli.Main(tool, run) }

// options are the flags as given.
type options struct {
	interval, ttl, holdMax time.Duration
	spread                 float64
	once                   bool
	count, pid             int
	status, msg            string
	pidfile, hold          string
	set                    map[string]bool
}

func run(env *cli.Env, args []string) int {
	var o options
	fs := env.Flags()
	fs.DurationVar(&o.interval, "interval", 5*time.Second, "`time` between beats")
	fs.Float64Var(&o.spread, "jitter", 0.1, "up to this `share` of the interval is added to each wait")
	fs.DurationVar(&o.ttl, "ttl", 0, "ask to be called dead after this `time` of silence")
	fs.BoolVar(&o.once, "once", false, "beat once and leave; wants -interval or -ttl")
	fs.IntVar(&o.count, "count", 0, "leave after `N` beats; 0 for no end")
	fs.StringVar(&o.status, "status", "ok", "`word` to send: ok, starting, degraded or error")
	fs.StringVar(&o.msg, "msg", "", "`text` to send")
	fs.IntVar(&o.pid, "pid", 0, "beat for process `N`: silent while it is stopped, one last error when it has ended")
	fs.StringVar(&o.pidfile, "pidfile", "", "like -pid for the process that `FILE` names, over its restarts")
	fs.StringVar(&o.hold, "hold", "", "honour holds in `DIR`: a stopped process under a hold is beaten for")
	fs.DurationVar(&o.holdMax, "hold-max", time.Hour, "longest `time` that a hold is honoured")
	ready := env.ReadyFlag(fs)
	if code, done := env.Parse(fs, args); done {
		return code
	}
	o.set = map[string]bool{}
	fs.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	if fs.NArg() != 1 {
		return env.Usage("want one FILE.hb, have %d", fs.NArg())
	}
	s, err := newSender(&o, fs.Arg(0))
	if err != nil {
		return env.Fail(err)
	}
	s.Log, s.Ready = env.Log, ready.Signal
	err = s.Run(env.Done)
	switch {
	case errors.Is(err, sender.ErrGone):
		return cli.ExitNo
	case err != nil:
		return env.Fail(err)
	}
	return cli.ExitOK
}

// newSender checks the flags and opens what they name.
func newSender(o *options, path string) (*sender.Sender, error) {
	record, err := o.record()
	if err != nil {
		return nil, err
	}
	var ok bool
	if record.ID, ok = heartbeat.FileID(filepath.Base(path)); !ok {
		return nil, cli.Usagef("%s: file name: want ID.hb with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -", path)
	}
	file, err := heartbeat.OpenFile(path)
	if err != nil {
		return nil, err
	}
	if record.Boot, err = boottime.ID(); err != nil {
		return nil, err
	}
	record.Seq = file.LastSeq()
	s := &sender.Sender{
		Record: record, Spread: o.spread, Count: o.count, Name: path,
		Sink: file, Clock: sender.RealClock{}, Random: rand.Float64,
	}
	if o.once {
		s.Count = 1
	}
	switch {
	case o.pidfile != "":
		s.Subject = sender.ByPidfile(o.pidfile)
	case o.pid != 0:
		if s.Subject, err = sender.ByPID(o.pid); err != nil {
			return nil, err
		}
	}
	if o.hold != "" {
		if s.Hold, err = hold.NewReader(o.hold, tool.Name, o.holdMax); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// record gives the members that stay the same in every beat.
func (o *options) record() (r heartbeat.Record, err error) {
	switch {
	case o.once && !o.set["interval"] && !o.set["ttl"]:
		return r, cli.Usagef("-once: wants -interval or -ttl, for a reader to know when the next beat is due")
	case o.interval < time.Millisecond:
		return r, cli.Usagef("-interval %v: want at least 1ms", o.interval)
	case o.ttl < 0 || o.set["ttl"] && o.ttl < time.Millisecond:
		return r, cli.Usagef("-ttl %v: want at least 1ms", o.ttl)
	case !(o.spread >= 0 && o.spread <= 1):
		return r, cli.Usagef("-jitter %v: want a share from 0 to 1", o.spread)
	case o.count < 0:
		return r, cli.Usagef("-count %d: want at least 0", o.count)
	case o.pid < 0 || o.set["pid"] && o.pid == 0:
		return r, cli.Usagef("-pid %d: want a process id", o.pid)
	case o.pid != 0 && o.pidfile != "":
		return r, cli.Usagef("-pid and -pidfile: want one of them")
	case o.holdMax <= 0:
		return r, cli.Usagef("-hold-max %v: want more than 0", o.holdMax)
	}
	status, err := heartbeat.ParseStatus(o.status)
	if err != nil || status > heartbeat.Error {
		return r, cli.Usagef("-status %q: want ok, starting, degraded or error", o.status)
	}
	r = heartbeat.Record{
		PID: os.Getpid(), StartMS: time.Now().UnixMilli(), Status: status, Msg: o.msg, CRC: true,
		IntervalMS: o.interval.Milliseconds(), TTLMS: o.ttl.Milliseconds(),
	}
	if o.once && !o.set["interval"] {
		r.IntervalMS = 0 // nobody said when the next one comes
	}
	probe := r
	probe.ID, probe.Boot = "probe", "00000000000000000000000000000000"
	if _, err := heartbeat.AppendBlock(nil, &probe, heartbeat.MaxSize); err != nil {
		return r, cli.Usagef("record: %v", err)
	}
	return r, nil
}
