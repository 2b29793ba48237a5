package control

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fifo"
)

// take handles what came through a door. It returns soon: what takes long runs
// beside it.
func (s *Server) take(over <-chan struct{}, d *door, line []byte, fault fifo.Fault) {
	s.count.lines.Add(1)
	admitted := d.bucket.take(boottime.Now())
	var c Command
	var err error
	switch fault {
	case fifo.Oversize:
		err = Refuse(Syntax, "line over %d bytes", fifo.MaxLine)
	case fifo.Partial:
		err = Refuse(Syntax, "line without a line feed")
	default:
		var bad *SyntaxError
		if c, err = ParseCommand(line); errors.As(err, &bad) {
			err = Refuse(Syntax, "%s", bad.Error())
		}
	}
	if !admitted {
		// A file for each of them is what a flood would like to have.
		s.count.over.Add(1)
		if c.Via == ViaFIFO {
			s.answer(c, Reply{}, Refuse(Rate, "too many commands"))
		}
		return
	}
	var v *Verb
	if err == nil {
		v, err = s.admit(d, c)
	}
	switch {
	case err != nil:
		s.answer(c, Reply{}, err)
	case v.Slow:
		s.runSlow(over, v, c)
	default:
		r, err := v.Run(Call{c.Pairs, over})
		s.answer(c, r, err)
	}
}

// admit finds the verb and checks that it may come through this door.
func (s *Server) admit(d *door, c Command) (*Verb, error) {
	for i := range s.verbs {
		v := &s.verbs[i]
		if v.Name != c.Verb {
			continue
		}
		if v.Admin && !d.admin {
			return nil, Refuse(Denied, "%s: ask at %s", v.Name, AdminName)
		}
		return v, v.fits(c.Pairs)
	}
	return nil, Refuse(Unknown, "%s: no such verb: try help", c.Verb)
}

// runSlow runs a verb beside the reading. The slot stays taken until the verb
// has really ended, so that a hung target costs one goroutine, not one for each
// question about it.
func (s *Server) runSlow(over <-chan struct{}, v *Verb, c Command) {
	select {
	case s.slow <- struct{}{}:
	default:
		s.answer(c, Reply{}, Refuse(Busy, "another command is running"))
		return
	}
	type outcome struct {
		reply Reply
		err   error
	}
	given := make(chan struct{}) // closed when it is given up
	done := make(chan outcome, 1)
	go func() {
		r, err := v.Run(Call{c.Pairs, given})
		<-s.slow
		done <- outcome{r, err}
	}()
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer close(given)
		limit := time.NewTimer(s.limit)
		defer limit.Stop()
		select {
		case o := <-done:
			s.answer(c, o.reply, o.err)
		case <-over:
			s.answer(c, Reply{}, Refuse(Timeout, "%s: the server ends", v.Name))
		case <-limit.C:
			s.answer(c, Reply{}, Refuse(Timeout, "%s: not done within %v", v.Name, s.limit))
		}
	}()
}

// filesMax bounds the answers that lie about as files until they are fetched.
const filesMax = 256

// answer sends a reply wherever it belongs. Nothing here waits for a client,
// and nothing that goes wrong here ends the server.
func (s *Server) answer(c Command, r Reply, err error) {
	if err != nil {
		s.count.refused.Add(1)
	}
	if r.Save != "" && err == nil {
		s.complain(r.Save, s.dir.Write(r.Save, r.Data, 0o640))
	}
	text := AppendReply(nil, c.ID, r, err)
	switch c.Via {
	case ViaFIFO:
		s.fifos.Send(c.ID, text, func(err error) {
			if errors.Is(err, fifo.ErrBusy) {
				// Nothing of the answer was written: there is room for a word.
				busy := AppendReply(nil, c.ID, Reply{}, Refuse(Busy, "others read their answers too slowly"))
				s.fifos.Send(c.ID, busy, func(error) {})
			}
			s.delivered(err)
		})
	case ViaFile:
		s.delivered(s.answerFile(c.ID, text))
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != Rate {
		s.last.put(text)
	}
	if r.after != nil {
		r.after()
	}
}

// latest is the answer that is to be seen in the file last. It is written beside
// the reading of commands; of answers in quick succession only the last one
// is, since nobody could have read the others.
type latest struct {
	mu   sync.Mutex
	text []byte // not written yet; nil for none
	wake chan struct{}
}

func (l *latest) put(text []byte) {
	l.mu.Lock()
	l.text = text
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write runs until wake is closed, and misses nothing that was put before.
func (l *latest) write(write func([]byte)) {
	for range l.wake {
		l.mu.Lock()
		text := l.text
		l.text = nil
		l.mu.Unlock()
		if text != nil {
			write(text)
		}
	}
}

// delivered counts an answer that did not reach its client. It is told in ping,
// not in the log: any client could fill that.
func (s *Server) delivered(err error) {
	if err != nil {
		s.count.undelivered.Add(1)
	}
}

// answerFile never replaces a file: the name may be somebody else's.
func (s *Server) answerFile(id string, text []byte) error {
	names, err := s.files.Names()
	if err != nil {
		return err
	}
	if len(names) >= filesMax {
		s.sweepFiles(names)
		if names, err = s.files.Names(); err != nil {
			return err
		}
		if len(names) >= filesMax {
			return fmt.Errorf("%s: %d answers wait to be fetched", s.files.Path(), len(names))
		}
	}
	return s.files.Create(id, text, 0o600)
}

// sweep removes answers and reply FIFOs that nobody came for.
func (s *Server) sweep() {
	s.complain(fifosName, s.fifos.Sweep(sweepEvery))
	names, err := s.files.Names()
	s.complain(filesName, err)
	s.sweepFiles(names)
}

func (s *Server) sweepFiles(names []string) {
	for _, name := range names {
		// Of what is not a regular file nothing is known, and nothing removed.
		_, info, _ := s.files.Read(name, 0)
		if !info.ModTime.IsZero() && time.Since(info.ModTime) > sweepEvery {
			_ = s.files.Remove(name)
		}
	}
}
