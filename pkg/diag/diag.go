// Package diag lets a Go program explain itself to whoever can write to a file:
//
//	echo dump >/run/web/ctl; sleep 1; cat /run/web/last.dump
//
// It serves a directory by the protocol of diagfifo(8), so that the program
// needs no port, and its user no client: a FIFO ctl for verbs that change
// nothing, a FIFO ctl.admin for all, answers in files or in the FIFOs of
// clients such as diagfifo send; a socket too, if asked for. The mode of each
// FIFO decides who may use it.
//
// Besides what proc(5) tells of any process (status, threads, fds, maps,
// limits, sample, dump), it answers what only the program itself can know: its
// goroutines, memory and collector, profiles, how it was built; and whatever it
// registers as a Verb of its own, for which Text, LogLevel, Mute and Guard are
// there.
//
// Everything runs in goroutines of its own. Nothing that is written into the
// FIFOs, and nobody who does not read an answer, holds up the program; a verb
// that panics is an answer with an error, and one that hangs is given up.
package diag

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// Config says what is served. Only Dir is needed.
type Config struct {
	// Dir is the directory that is served. It is made, with mode 0755, if only
	// its last component is missing; otherwise it has to belong to root or to
	// the user of this process, and nobody else may have the right to write to
	// it.
	Dir string

	ID    string // name of the service; the base name of Dir if empty
	Verbs []Verb // the program's own

	// Out is an existing directory, trusted as Dir is, in which dumps and
	// profiles are kept, Keep of each kind (10 if 0). Without it nothing is, and
	// there is no verb profile.
	Out  string
	Keep int

	// Light and Full are signals that have the same effect as the commands
	// "dump level=light" and "dump level=full"; the dump is then in last.dump,
	// and in Out. Nil for none. syscall.SIGUSR1 and SIGUSR2 are what people
	// expect.
	Light, Full os.Signal

	Rate   float64 // commands a second from each FIFO, twice as many at once; 20 if 0, no limit if negative
	Group  int     // gid that may use ctl and read the answers; 0 for none
	Socket bool    // serve the Unix socket Dir/s, too

	// Log is told, in one line, what a person should know: that a FIFO was
	// replaced, that an answer could not be written. It may be called from
	// several goroutines. Nil for nowhere.
	Log func(text string)
}

// Diag serves a directory until Close. Its methods may be called concurrently.
type Diag struct {
	server *control.Server
	log    logger
	dir    string
	made   bool // the directory is ours, to be removed
	stop   chan struct{}
	once   sync.Once
	over   chan struct{} // closed when nothing runs any more
	err    error         // of the end; read it when over is closed
}

// Start takes the directory and serves it from then on. It refuses a directory
// that others may write to, one that is served already, and verbs whose names
// are no words ([a-z][a-z0-9_-]*, at most 32 bytes) or are taken.
func Start(c Config) (*Diag, error) {
	verbs, err := table(&c)
	if err != nil {
		return nil, err
	}
	_, missing := os.Lstat(c.Dir)
	d := &Diag{log: logger(c.Log), dir: c.Dir, made: missing != nil, stop: make(chan struct{}), over: make(chan struct{})}
	d.server, err = control.Listen(control.Config{
		Dir: c.Dir, ID: c.ID, Verbs: verbs, Rate: max(0, cmp.Or(c.Rate, 20)), Group: c.Group, Socket: c.Socket, Log: d.log,
	})
	if err != nil {
		if d.made {
			_ = d.remove()
		}
		return nil, err
	}
	signals := make(chan os.Signal, 2)
	if c.Light != nil {
		signal.Notify(signals, c.Light)
	}
	if c.Full != nil {
		signal.Notify(signals, c.Full)
	}
	go d.serve()
	go d.listen(signals, c)
	return d, nil
}

// table is what is served: first what a process shows of itself.
func table(c *Config) ([]Verb, error) {
	if c.Dir == "" {
		return nil, errors.New("diag: want a directory")
	}
	if c.ID == "" {
		path, err := filepath.Abs(c.Dir)
		if err != nil {
			return nil, err
		}
		c.ID = filepath.Base(path)
	}
	if !heartbeat.ValidID(c.ID) {
		return nil, fmt.Errorf("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", c.ID)
	}
	self, err := explain.ByPID(os.Getpid())
	if err != nil {
		return nil, err
	}
	process := &explain.Process{ID: c.ID, Target: self}
	o := &out{id: c.ID, keep: cmp.Or(c.Keep, 10)}
	if c.Out != "" {
		if o.dumps, err = explain.OpenSpool(c.Out, o.keep, 0); err != nil {
			return nil, err
		}
		if o.dir, err = rundir.Open(c.Out); err != nil {
			return nil, err
		}
	}
	verbs := process.Verbs()
	for i := range verbs {
		if verbs[i].Name == "dump" {
			verbs[i].Run = o.dump(verbs[i].Run)
		}
	}
	verbs = slices.Concat(verbs, runtimeVerbs(), o.verbs())
	for _, v := range c.Verbs {
		verbs = append(verbs, guarded(v))
	}
	return verbs, nil
}

func (d *Diag) serve() {
	defer close(d.over)
	d.err = d.server.Serve(d.stop)
	if d.err != nil {
		d.log.Warn(d.err.Error())
	}
	d.once.Do(func() { close(d.stop) }) // so that nobody listens any more
	if err := d.remove(); err != nil {
		d.log.Warn(err.Error())
		d.err = errors.Join(d.err, err)
	}
}

// listen turns signals into commands.
func (d *Diag) listen(signals chan os.Signal, c Config) {
	defer signal.Stop(signals)
	for {
		select {
		case s := <-signals:
			if s == c.Full {
				d.server.Do("dump level=full")
			} else {
				d.server.Do("dump level=light")
			}
		case <-d.stop:
			return
		}
	}
}

// Close ends the serving and removes what it made in the directory, and the
// directory itself if that was made, too. What is kept in Out stays. The error
// is why the serving ended before, or what could not be removed.
func (d *Diag) Close() error {
	d.once.Do(func() { close(d.stop) })
	<-d.over
	return d.err
}

// remove takes away what the server leaves for the next one.
func (d *Diag) remove() error {
	err := control.Clear(d.dir)
	if d.made {
		_ = os.Remove(d.dir) // not empty: somebody else uses it, too
	}
	return err
}

// logger is where the server's messages go.
type logger func(text string)

func (l logger) Info(msg string, kv ...any) { l.Warn(msg, kv...) }

func (l logger) Warn(msg string, kv ...any) {
	if l == nil {
		return
	}
	var b strings.Builder
	b.WriteString(msg)
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(&b, " %v=%v", kv[i], kv[i+1])
	}
	l(b.String())
}
