package hbwatch

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/feed"
	"vigil/pkg/flag"
	"vigil/pkg/journal"
	"vigil/pkg/prom"
	"vigil/pkg/tune"
	"vigil/pkg/watch"
)

// outputs are the files that are kept beside stdout.
type outputs struct {
	prom   string
	events string
	record string

	feed      string
	feedFor   []string
	feedAfter time.Duration
}

func (o *outputs) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.prom, "prom", "", "keep metrics in this `file`, NAME"+prom.Suffix+", for the textfile collector of Prometheus's node_exporter")
	fs.StringVar(&o.events, "events", "", "append events to this `file`, too; SIGHUP opens it again")
	fs.StringVar(&o.record, "record", "", "append each beat seen to this `trace` for tune; SIGHUP opens it again")
	fs.StringVar(&o.feed, "feed", "", "touch this `file` about once a second, for another watchdog")
	fs.Func("feed-for", "do not while one of these, which are expected, has been dead for long: `ID,...` (may be given again)", func(s string) error {
		ids, err := watch.ParseExpect(s)
		o.feedFor = append(o.feedFor, ids...)
		return err
	})
	fs.DurationVar(&o.feedAfter, "feed-after", 2*time.Minute, "`time` for which it has to be dead")
}

// check refuses what cannot be meant.
func (o *outputs) check(once bool) error {
	switch {
	case once && o.prom+o.events+o.record+o.feed != "":
		return cli.Usagef("-prom, -events, -record, -feed: do not go with -once")
	case o.feed == "" && o.feedFor != nil:
		return cli.Usagef("-feed-for: goes with -feed")
	case o.feedAfter < 0:
		return cli.Usagef("-feed-after: want no negative time")
	}
	if o.prom != "" {
		if err := prom.CheckPath(o.prom); err != nil {
			return cli.Usagef("-prom: %v", err)
		}
	}
	if o.feed != "" {
		if err := feed.CheckPath(o.feed); err != nil {
			return cli.Usagef("-feed: %v", err)
		}
	}
	return nil
}

// open starts what was asked for, and has it told what happens: opt, and lines,
// which get all events. The caller calls end, whatever the error.
func (o *outputs) open(env *cli.Env, opt *watch.Options, lines *watch.Lines) (end func(), err error) {
	var ends []func()
	end = func() {
		for _, f := range ends {
			f()
		}
	}
	var files []*journal.File
	open := func(path, what string) (*watch.Lines, error) {
		j, err := journal.Open(path)
		if err != nil {
			return nil, err
		}
		l := watch.NewLines(j, path, what, env.Log)
		files = append(files, j)
		ends = append(ends, func() { l.Close(linesWait) })
		return l, nil
	}
	if o.events != "" {
		l, err := open(o.events, "events")
		if err != nil {
			return end, err
		}
		lines.Tee(l)
	}
	var r *recorder
	if o.record != "" {
		l, err := open(o.record, "beats")
		if err != nil {
			return end, err
		}
		r = &recorder{l, nil}
		opt.EachBeat = true // else the trace would have every third or so
	}
	var x *prom.Exporter
	if o.prom != "" {
		x = prom.NewExporter(o.prom, cli.Version(), env.Log)
		ends = append(ends, func() { x.Close(linesWait) })
	}
	if len(files) > 0 {
		reopenAtHangup(env, files)
	}
	var f *feed.Feeder
	if o.feed != "" {
		opt.Expect = append(opt.Expect, o.feedFor...)
		f = feed.New(o.feed, o.feedFor, o.feedAfter, env.Log)
		ends = append(ends, func() { f.Close(linesWait) })
	}
	listen(opt, r, x, f)
	return end, nil
}

// listen has r, x and f, each of which may be nil, told what happens.
func listen(opt *watch.Options, r *recorder, x *prom.Exporter, f *feed.Feeder) {
	emit := opt.Emit
	opt.Emit = func(ev watch.Event) {
		if x != nil {
			x.Event(&ev)
		}
		if f != nil {
			f.Event(&ev)
		}
		emit(ev)
	}
	opt.Heard = func(id string, at time.Duration, seq uint64) {
		if x != nil {
			x.Beat()
		}
		if r != nil {
			r.beat(id, at, seq)
		}
	}
	opt.Ticked = func(w *watch.Watcher, now, took time.Duration) {
		if x != nil {
			x.Tick(w, now, took)
		}
		if r != nil {
			r.flush()
		}
		if f != nil {
			f.Tick(now, w.StateOf)
		}
	}
}

// reopenAtHangup goes on in new files after a rotation.
func reopenAtHangup(env *cli.Env, files []*journal.File) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			for _, f := range files {
				if err := f.Reopen(); err != nil {
					env.Log.Warn(err.Error() + "; the old one is written on")
				}
			}
		}
	}()
}

// traceChunk bounds what waits for a disk that hangs: so many bytes in each of
// the lines that watch.Lines keeps.
const traceChunk = 1 << 10

// recorder writes a trace for tune.
type recorder struct {
	lines *watch.Lines
	chunk []byte
}

func (r *recorder) beat(id string, at time.Duration, seq uint64) {
	r.chunk = tune.AppendLine(r.chunk, at.Milliseconds(), id, seq)
	if len(r.chunk) >= traceChunk {
		r.flush()
	}
}

func (r *recorder) flush() {
	if len(r.chunk) > 0 {
		r.lines.Add(r.chunk)
		r.chunk = nil
	}
}
