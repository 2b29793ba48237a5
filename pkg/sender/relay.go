package sender

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// Relay takes another sender's beats from a FIFO or from standard input. What
// comes faster than it can be forwarded is merged: the last one counts.
type Relay struct {
	path   string // "" for standard input
	name   string // in messages
	verify func(record []byte) error
	log    Log

	// Set by begin before anything is read.
	base  heartbeat.Record // what a forwarded beat has of our own
	clock Clock

	mu      sync.Mutex
	taken   *sync.Cond        // signalled when next is taken
	next    *heartbeat.Record // to be forwarded, not yet taken
	arrived chan struct{}     // closed when next is set, at the end of input, and when the sender is to end
	ended   bool              // standard input
	stopped bool              // by the sender
	file    *os.File          // the FIFO, while it is open
	framer  framer
	dropped [256]int // lines, by reason
	from    string   // the id of the first beat that named one: all others have to
	last    heartbeat.Record
	probe   []byte
}

// NewRelay is the input at path, "" for standard input. verify, if it is not
// nil, has to accept each line. A FIFO must be there, and may be writable for
// everybody only if verify keeps them from forging beats.
func NewRelay(path string, verify func(record []byte) error, log Log) (*Relay, error) {
	r := &Relay{path: path, name: path, verify: verify, log: log, arrived: make(chan struct{})}
	r.taken = sync.NewCond(&r.mu)
	if path == "" {
		r.name = "stdin"
		return r, nil
	}
	f, err := r.open()
	r.file = f
	return r, err
}

// Resume tells which beat was forwarded last by the relay that was here before; nil
// for none. What that one has sent on is not sent on again.
func (r *Relay) Resume(via *heartbeat.Via) {
	if via != nil && via.StartMS != 0 {
		r.last = heartbeat.Record{ID: via.ID, Seq: via.Seq, StartMS: via.StartMS}
	}
}

// open opens the FIFO for reading and for writing: so it never comes to an end
// when a writer leaves (fifo(7)).
func (r *Relay) open() (*os.File, error) {
	f, err := rundir.OpenKind(r.path, os.O_RDWR, syscall.S_IFIFO)
	if err != nil {
		return nil, fmt.Errorf("%s: open FIFO: %w", r.path, errors.Unwrap(err))
	}
	st, err := statOf(f)
	switch {
	case err != nil:
	case st.Mode&syscall.S_IFMT != syscall.S_IFIFO:
		err = errors.New("not a FIFO")
	case st.Mode&0o002 != 0 && r.verify == nil:
		err = fmt.Errorf("mode %04o lets everybody forge beats: chmod o-w, or give a -key", st.Mode&0o7777)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: open FIFO: %w", r.path, err)
	}
	return f, nil
}

// statOf does not make the descriptor blocking, as its Fd would.
func statOf(f *os.File) (st syscall.Stat_t, err error) {
	c, err := f.SyscallConn()
	if err == nil {
		cerr := c.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) })
		if err == nil {
			err = cerr
		}
	}
	return st, err
}

// read feeds the relay until the input ends, or the FIFO is closed to be opened
// anew.
func (r *Relay) read(f *os.File) {
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		r.mu.Lock()
		r.framer.feed(buf[:n], r.line)
		for err == nil && r.next != nil && !r.stopped {
			r.taken.Wait() // a flood stays in the pipe
		}
		if err != nil {
			if r.file == f {
				r.file = nil
			}
			r.ended = r.path == ""
			r.wake()
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

// wake lets the sender look. r.mu is held.
func (r *Relay) wake() {
	select {
	case <-r.arrived:
	default:
		close(r.arrived)
	}
}

// line takes in one line, nil for one that was too long. r.mu is held.
func (r *Relay) line(text []byte) {
	rec, err := r.accept(text)
	rej, rejected := errors.AsType[*heartbeat.Reject](err)
	switch {
	case err == nil:
		r.next = &rec
		r.wake()
	case rejected && rej.Reason != heartbeat.Empty:
		if r.dropped[rej.Reason]++; r.dropped[rej.Reason] == 1 {
			r.log.Warn(fmt.Sprintf("%s: line dropped: %v; more of the kind are only counted", r.name, rej))
		}
	}
}

// accept gives the beat to forward for a line. The error is a *heartbeat.Reject.
func (r *Relay) accept(text []byte) (heartbeat.Record, error) {
	none := heartbeat.Record{}
	if text == nil {
		return none, &heartbeat.Reject{Reason: heartbeat.Oversize, Detail: fmt.Sprintf("over %d bytes", heartbeat.MaxSize)}
	}
	rec, err := heartbeat.Parse(text, r.from)
	if err == nil && r.verify != nil {
		err = r.verify(text)
	}
	if err == nil {
		err = r.order(&rec)
	}
	if err != nil {
		return none, err
	}
	out := r.restamp(&rec)
	// What has yet to come of seq, times and a signature needs no more room.
	if r.probe, err = heartbeat.AppendBlock(r.probe[:0], &out, 0); err != nil || len(bytes.TrimRight(r.probe, " \n")) > heartbeat.MaxSize-256 {
		return none, &heartbeat.Reject{Reason: heartbeat.Oversize, Detail: "no room for what a relay adds"}
	}
	if r.from == "" {
		r.from = rec.ID
	}
	r.last = rec
	return out, nil
}

// order refuses what is not newer than what came before, or too old to say
// anything of now: a pipe may have kept it for long.
func (r *Relay) order(rec *heartbeat.Record) error {
	replayed := func(format string, a ...any) error {
		return &heartbeat.Reject{Reason: heartbeat.Replayed, Detail: fmt.Sprintf(format, a...)}
	}
	if rec.Foreign {
		return nil
	}
	// What is known from before a restart of ours has no boot id.
	if l := &r.last; (rec.Boot == l.Boot || l.Boot == "") && rec.StartMS == l.StartMS && rec.Seq <= l.Seq {
		return replayed("seq %d, after %d", rec.Seq, l.Seq)
	}
	age := r.clock.Now().Milliseconds() - rec.BTMS
	switch {
	case rec.Boot != r.base.Boot:
	case age > max(rec.TTLMS, 3*rec.IntervalMS, 1000):
		return replayed("bt_ms is %d ms ago", age)
	case age < -1000:
		return &heartbeat.Reject{Reason: heartbeat.Future, Detail: fmt.Sprintf("bt_ms lies %d ms ahead", -age)}
	}
	return nil
}

// restamp gives what is forwarded of a beat: what it says, as its sender's, and
// our own identity and times. Its pid means nothing here: whoever acted on it
// might hit a stranger.
func (r *Relay) restamp(rec *heartbeat.Record) heartbeat.Record {
	out := r.base
	out.Status, out.Msg, out.Metrics, out.LateMS = rec.Status, rec.Msg, rec.Metrics, rec.LateMS
	if rec.IntervalMS > 0 || rec.TTLMS > 0 {
		out.IntervalMS, out.TTLMS = rec.IntervalMS, rec.TTLMS
	}
	out.Via = &heartbeat.Via{ID: rec.ID, Seq: rec.Seq, StartMS: rec.StartMS}
	return out
}

// take gives the last beat that came, if any came, and what to wait for.
func (r *Relay) take() (rec *heartbeat.Record, ended bool, arrived <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, r.next = r.next, nil
	select {
	case <-r.arrived:
		if !r.stopped {
			r.arrived = make(chan struct{})
		}
	default:
	}
	r.taken.Signal()
	return rec, r.ended, r.arrived
}

// stop wakes the sender for good, and lets the reading end.
func (r *Relay) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.wake()
	r.taken.Signal()
}

// heal sees to it that somebody reads the FIFO that is there now: the one that
// is open may have been removed.
func (r *Relay) heal() {
	if r.path == "" {
		return
	}
	r.mu.Lock()
	f := r.file
	r.mu.Unlock()
	if f != nil {
		var there syscall.Stat_t
		open, err := statOf(f)
		if err != nil || syscall.Stat(r.path, &there) != nil || there.Ino == open.Ino && there.Dev == open.Dev {
			return
		}
		_ = f.Close() // ends the reading
	}
	if f, err := r.open(); err == nil {
		r.log.Info(r.name + ": opened again")
		r.mu.Lock()
		r.file = f
		r.mu.Unlock()
		go r.read(f)
	}
}

// report tells how many lines were dropped.
func (r *Relay) report() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reason, n := range r.dropped {
		if n > 0 {
			r.log.Info(r.name+": lines dropped", "reason", heartbeat.Reason(reason), "n", n)
		}
	}
}

// framer cuts a stream into lines, each with its line feed.
type framer struct {
	part []byte // of a line that has no line feed yet
	skip bool   // within a line that was too long
}

// feed emits what is complete, valid until emit returns; nil for a line of over
// heartbeat.MaxSize bytes.
func (f *framer) feed(b []byte, emit func(line []byte)) {
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(b)
		}
		if !f.skip {
			f.part = append(f.part, b[:n]...)
		}
		b = b[n:]
		switch {
		case f.skip:
			f.skip = !whole
		case len(f.part) > heartbeat.MaxSize:
			emit(nil)
			f.part, f.skip = f.part[:0], !whole
		case whole:
			emit(f.part)
			f.part = f.part[:0]
		}
	}
}

// standIn gives a beat in the place of a held sender, whose last beat is last.
func (r *Relay) standIn(last *heartbeat.Record) *heartbeat.Record {
	out := r.base
	out.Status, out.Via = heartbeat.Held, last.Via
	out.IntervalMS, out.TTLMS = last.IntervalMS, last.TTLMS
	return &out
}

// end is what becomes of the relay when its input has ended.
func (r *Relay) end(last heartbeat.Status) error {
	if last == heartbeat.Stopping {
		return nil
	}
	return fmt.Errorf("%s: %w", r.name, ErrGone)
}
