// Package control serves commands through files: a line written into a FIFO is a
// command, its answer appears in a file or in a FIFO of the client.
//
// Server reads, admits and answers commands; it knows nothing of what the verbs
// do, and serves any table of them. Ask is the client.
//
// A FIFO does not tell who writes to it. Therefore there is one per privilege:
// ctl for verbs that change nothing, ctl.admin for all, and the file mode of
// each decides who may use it.
package control

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// Names in the directory of a server.
const (
	ctlName   = "ctl"
	AdminName = "ctl.admin"
	lastName  = "last" // the latest answer
	DumpName  = "last.dump"
	filesName = "r" // answers as files
	fifosName = "p" // answers through the clients' FIFOs
)

const (
	sweepEvery = 10 * time.Minute // and how old an answer becomes that nobody fetched
	slowLimit  = 10 * time.Second
)

// Log is told what a person should know; *cli.Log is one.
type Log interface {
	Info(msg string, kv ...any)
	Warn(msg string, kv ...any)
}

// Config says what is served, and where.
type Config struct {
	Dir   string  // is made if only its last component is missing
	ID    string  // name of what is served, to show
	Verbs []Verb  // besides ping, help and quit, which a server brings along
	Rate  float64 // commands per second and FIFO, twice as many at once; 0 for no limit
	Group int     // gid that may use ctl and read the answers; 0 for none

	// Socket is whether DIR/s is served, too: the same lines, answered on the
	// connection. Root and this user may use all verbs there, others what ctl
	// has; others are only let in where there is a Group.
	Socket bool

	Log Log
}

// Server serves one directory. Make it with Listen, run it with Serve.
type Server struct {
	id    string
	verbs []Verb
	log   Log
	born  time.Duration

	dir   *rundir.Dir
	lock  *os.File
	files *rundir.Dir
	fifos *fifo.Replies
	doors []*door
	group int // 0 for none

	connections *connections // nil for no socket

	quit    chan struct{} // holds a token once the verb quit was answered
	running []atomic.Bool // the slow ones of verbs
	limit   time.Duration // for a slow verb
	wg      sync.WaitGroup
	last    latest
	waiting atomic.Int32 // answers that lie in files; those fetched meanwhile count
	count   counters
	said    complaints

	over    chan struct{} // closed at the end of Serve
	gate    sync.Mutex    // of Do, against the end of Serve
	serving bool
}

// A door is one control FIFO with what may come through it.
type door struct {
	*fifo.Listener
	origin
}

type counters struct {
	lines       atomic.Uint64 // all that came in
	refused     atomic.Uint64 // answered with err
	over        atomic.Uint64 // not admitted for their rate
	undelivered atomic.Uint64 // answers that did not reach their client
}

// complaints keep one fault from being told again and again.
type complaints struct {
	mu   sync.Mutex
	said map[string]string // by its subject
}

// news gives the text to log when the fault has changed, "" otherwise.
func (c *complaints) news(subject string, err error) string {
	text := ""
	if err != nil {
		text = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if text == c.said[subject] {
		return ""
	}
	if c.said == nil {
		c.said = map[string]string{}
	}
	c.said[subject] = text
	return text
}

// Listen takes the directory and makes the FIFOs; commands are read once Serve
// runs. It refuses a directory that others may write to, and one that is served
// already (fifo.ErrServed). The caller calls Serve or Close.
func Listen(c Config) (*Server, error) {
	s := &Server{
		id: c.ID, log: c.Log, born: boottime.Now(), limit: slowLimit, group: c.Group,
		quit: make(chan struct{}, 1), over: make(chan struct{}), last: latest{wake: make(chan struct{}, 1)},
	}
	s.verbs = append(append(s.opening(), c.Verbs...), s.closing()...)
	if err := check(s.verbs); err != nil {
		return nil, err
	}
	s.running = make([]atomic.Bool, len(s.verbs))
	if err := s.open(c); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(c Config) (err error) {
	if err := os.Mkdir(c.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: make directory: %w", c.Dir, errors.Unwrap(err))
	}
	if s.dir, err = rundir.Open(c.Dir); err != nil {
		return err
	}
	if s.lock, err = fifo.Lock(s.dir); err != nil {
		return err
	}
	s.tidy()
	made, err := fifo.Subdir(s.dir, filesName, 0o700, 0)
	if err != nil {
		return err
	}
	// No symbolic link by now, in a directory that nobody else may change.
	_ = made.Close()
	if s.files, err = rundir.Open(c.Dir + "/" + filesName); err != nil {
		return err
	}
	if s.fifos, err = fifo.OpenReplies(s.dir, fifosName, c.Group); err != nil {
		return err
	}
	for _, d := range []struct {
		name  string
		perm  fs.FileMode
		group int
		admin bool
	}{{ctlName, 0o620, c.Group, false}, {AdminName, 0o600, 0, true}} {
		l, err := fifo.Listen(s.dir, d.name, d.perm, d.group)
		if err != nil {
			return err
		}
		s.doors = append(s.doors, &door{l, origin{admin: d.admin, bucket: newBucket(c.Rate, s.born)}})
	}
	return s.openSocket(c)
}

// tidy removes what a server that was killed had not finished. The directory is
// locked: no other one is at work.
func (s *Server) tidy() {
	names, err := s.dir.Names()
	s.complain("tidy", err)
	for _, name := range names {
		if strings.HasPrefix(name, ".tmp.") {
			_ = s.dir.Remove(name)
		}
	}
}

// Close removes the FIFOs and gives the directory free. Serve does it.
func (s *Server) Close() error {
	var faults []error
	if s.fifos != nil {
		_ = s.fifos.Close()
	}
	for _, d := range s.doors {
		faults = append(faults, d.Close())
	}
	s.doors = nil
	if s.connections != nil {
		faults = append(faults, s.connections.Close())
	}
	if s.files != nil {
		_ = s.files.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
	if s.dir != nil {
		_ = s.dir.Close()
	}
	return errors.Join(faults...)
}

// Serve answers commands until done is closed or the verb quit comes, then
// removes the FIFOs. An error means that it had to give up.
func (s *Server) Serve(done <-chan struct{}) error {
	s.setServing(true)
	broken := make(chan error, len(s.doors)+1)
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.last.write(func(text []byte) { s.complain(lastName, s.write(lastName, text)) })
	}()
	s.sweep()
	for _, d := range s.doors {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			broken <- d.Serve(func(line []byte, fault fifo.Fault) { s.take(&d.origin, line, fault) })
		}()
	}
	if s.connections != nil {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.serveSocket()
		}()
	}
	err := s.watch(done, broken)
	// What was begun is answered; only then are the clients told that there is nobody
	// any more: who knows that does not wait for his answer.
	close(s.over)
	for _, d := range s.doors {
		err = errors.Join(err, d.Stop())
	}
	if s.connections != nil {
		err = errors.Join(err, s.connections.Close())
		s.connections.end()
	}
	s.setServing(false)
	s.wg.Wait() // they write into the directory
	close(s.last.wake)
	<-written
	return errors.Join(err, s.Close())
}

func (s *Server) setServing(yes bool) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.serving = yes
}

// complain tells a fault once, until it changes or passes.
func (s *Server) complain(subject string, err error) {
	if text := s.said.news(subject, err); text != "" {
		s.log.Warn(text)
	}
}

// opening and closing are the verbs that every server has, around its own.
func (s *Server) opening() []Verb {
	return []Verb{
		{Name: "ping", Help: "the server lives; what it has done", Run: s.ping},
		{Name: "help", Help: "this list", Run: func(Call) (Reply, error) {
			return Reply{Data: describe(s.verbs)}, nil
		}},
	}
}

func (s *Server) closing() []Verb {
	return []Verb{
		{Name: "quit", Help: "the server ends and removes its FIFOs", Admin: true, Run: func(Call) (Reply, error) {
			return Reply{after: func() {
				select {
				case s.quit <- struct{}{}:
				default:
				}
			}}, nil
		}},
	}
}

func (s *Server) ping(Call) (Reply, error) {
	var r Reply
	r.Add("id", s.id)
	r.Add("server_pid", os.Getpid())
	r.Add("up_ms", (boottime.Now() - s.born).Milliseconds())
	for _, c := range []struct {
		key string
		n   *atomic.Uint64
	}{
		{"lines", &s.count.lines}, {"refused", &s.count.refused},
		{"over_rate", &s.count.over}, {"undelivered", &s.count.undelivered},
	} {
		r.Pairs = append(r.Pairs, Pair{c.key, strconv.FormatUint(c.n.Load(), 10)})
	}
	return r, nil
}
