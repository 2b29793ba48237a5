package watch

import (
	"errors"
	"io"
	"os"
	"time"

	"vigil/pkg/jsonline"
)

// linesMost is how many events may wait for a reader that does not read. A
// watchdog must not stop because its log did.
const linesMost = 4096

// linesMoment is well under what the watcher takes for a stall of its own.
const linesMoment = 100 * time.Millisecond

// Lines passes lines on to a writer. Put and Add block for a moment at most; a
// goroutine writes. They are for one goroutine.
type Lines struct {
	w     io.Writer
	name  string // of w
	what  string // the lines are
	log   Log
	queue chan []byte
	done  chan struct{}
	json  jsonline.Writer
	lost  int
	tee   *Lines
}

// NewLines starts writing to w. Its name, and what the lines are, is how log is
// told of what goes wrong.
func NewLines(w io.Writer, name, what string, log Log) *Lines {
	l := &Lines{w: w, name: name, what: what, log: log, queue: make(chan []byte, linesMost), done: make(chan struct{})}
	go l.write()
	return l
}

// Tee has each event put into other, too.
func (l *Lines) Tee(other *Lines) { l.tee = other }

// Put takes an event to be written.
func (l *Lines) Put(e *Event) {
	l.json.Reset()
	e.Append(&l.json, time.Now())
	line := append(append(make([]byte, 0, len(l.json.Bytes())+1), l.json.Bytes()...), '\n')
	l.Add(line)
	if l.tee != nil {
		l.tee.Add(line)
	}
}

// Add takes lines with their ends, to be written at once. They must not be
// changed any more.
func (l *Lines) Add(lines []byte) {
	if !l.offer(lines) {
		if l.lost++; l.lost == 1 {
			l.log.Warn(l.name + ": takes no more: " + l.what + " are dropped")
		}
		return
	}
	if l.lost > 0 {
		l.log.Warn(l.name+": takes more again; some "+l.what+" are lost", "lost", l.lost)
		l.lost = 0
	}
}

// offer queues a line. A burst that fills the queue gives the reader a moment;
// one who has not read then is not waited for again.
func (l *Lines) offer(line []byte) bool {
	select {
	case l.queue <- line:
		return true
	default:
	}
	if l.lost > 0 {
		return false
	}
	moment := time.NewTimer(linesMoment)
	defer moment.Stop()
	select {
	case l.queue <- line:
		return true
	case <-moment.C:
		return false
	}
}

// write warns of a fault once. A reader that has gone away may come back where
// stdout is a FIFO, so each line is tried.
func (l *Lines) write() {
	defer close(l.done)
	said := ""
	for line := range l.queue {
		_, err := l.w.Write(line)
		text := ""
		if err != nil {
			text = l.name + ": write: " + cause(err).Error() + "; " + l.what + " are lost"
		}
		if text != said && text != "" {
			l.log.Warn(text)
		}
		said = text
	}
}

// Close waits at most wait until all is written.
func (l *Lines) Close(wait time.Duration) {
	close(l.queue)
	select {
	case <-l.done:
	case <-time.After(wait):
		l.log.Warn(l.name + ": takes no more: the last " + l.what + " are lost")
	}
}

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
