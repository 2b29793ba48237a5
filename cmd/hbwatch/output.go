package main

import (
	"flag"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/prom"
	"vigil/pkg/watch"
)

// outputs are the files that are kept beside stdout.
type outputs struct {
	prom string
}

func (o *outputs) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.prom, "prom", "", "keep metrics in this `file`, NAME"+prom.Suffix+", for the textfile collector of Prometheus's node_exporter")
}

// check refuses what cannot be meant.
func (o *outputs) check(once bool) error {
	if o.prom == "" {
		return nil
	}
	if once {
		return cli.Usagef("-prom: does not go with -once")
	}
	if err := prom.CheckPath(o.prom); err != nil {
		return cli.Usagef("-prom: %v", err)
	}
	return nil
}

// open starts what was asked for, and has it told what happens. The caller
// closes it.
func (o *outputs) open(env *cli.Env, opt *watch.Options) (end func(), err error) {
	if o.prom == "" {
		return func() {}, nil
	}
	x := prom.NewExporter(o.prom, cli.Version(), env.Log)
	emit := opt.Emit
	opt.Emit = func(ev watch.Event) {
		x.Event(&ev)
		emit(ev)
	}
	opt.Heard = func(string, time.Duration, uint64) { x.Beat() }
	opt.Ticked = x.Tick
	return func() { x.Close(linesWait) }, nil
}
