package control

import (
	"errors"
	"os"
	"sync"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
)

// An origin is where commands come from: what they may do, how many a second,
// and where their answers go.
type origin struct {
	admin  bool
	bucket *bucket             // nil for no limit
	write  func(answer []byte) // the way back; nil for what the command itself says

	pending *sync.WaitGroup // counts the answers that will come later; may be nil
}

// Do runs a line as if it had come through ctl.admin, whatever the rate, and
// returns soon; its answer is to be seen in last. It is for commands that come
// by a signal. Outside of Serve it does nothing.
func (s *Server) Do(line string) {
	s.gate.Lock()
	if !s.serving {
		s.gate.Unlock()
		return
	}
	s.wg.Add(1)
	s.gate.Unlock()
	defer s.wg.Done()
	s.take(&origin{admin: true}, []byte(line), fifo.Sound)
}

// take handles what came in. It returns soon: what takes long runs beside it.
func (s *Server) take(from *origin, line []byte, fault fifo.Fault) {
	s.count.lines.Add(1)
	admitted := from.bucket == nil || from.bucket.take(boottime.Now())
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
		if from.write != nil || c.Via == ViaFIFO {
			s.answer(from, c, Reply{}, Refuse(Rate, "too many commands"))
		}
		return
	}
	i := 0
	if err == nil {
		i, err = s.admit(from, c)
	}
	switch {
	case err != nil:
		s.answer(from, c, Reply{}, err)
	case s.verbs[i].Slow:
		s.runSlow(from, i, c)
	default:
		r, err := s.verbs[i].Run(Call{c.Pairs, s.over})
		s.answer(from, c, r, err)
	}
}

// admit finds the verb and checks that it may come from there.
func (s *Server) admit(from *origin, c Command) (int, error) {
	for i := range s.verbs {
		v := &s.verbs[i]
		if v.Name != c.Verb {
			continue
		}
		if v.Admin && !from.admin {
			return i, Refuse(Denied, "%s: ask at %s", v.Name, AdminName)
		}
		return i, v.fits(c.Pairs)
	}
	return 0, Refuse(Unknown, "%s: no such verb: try help", c.Verb)
}

// runSlow runs a verb beside the reading. It stays taken until it has really
// ended, so that a hung target costs one goroutine for each verb, not one for
// each question about it.
func (s *Server) runSlow(from *origin, i int, c Command) {
	v := &s.verbs[i]
	if !s.running[i].CompareAndSwap(false, true) {
		s.answer(from, c, Reply{}, Refuse(Busy, "%s: one is under way", v.Name))
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
		s.running[i].Store(false)
		done <- outcome{r, err}
	}()
	s.wg.Add(1)
	if from.pending != nil {
		from.pending.Add(1)
	}
	go func() {
		defer s.wg.Done()
		if from.pending != nil {
			defer from.pending.Done()
		}
		defer close(given)
		most := v.Limit
		if most == 0 {
			most = s.limit
		}
		limit := time.NewTimer(most)
		defer limit.Stop()
		select {
		case o := <-done:
			s.answer(from, c, o.reply, o.err)
		case <-s.over:
			s.answer(from, c, Reply{}, Refuse(Timeout, "%s: the server ends", v.Name))
		case <-limit.C:
			s.answer(from, c, Reply{}, Refuse(Timeout, "%s: not done within %v", v.Name, most))
		}
	}()
}

// filesMax bounds the answers that lie about as files until they are fetched.
const filesMax = 256

// answer sends a reply wherever it belongs. Nothing here waits for a client of
// the FIFOs, and nothing that goes wrong here ends the server.
func (s *Server) answer(from *origin, c Command, r Reply, err error) {
	if err != nil {
		s.count.refused.Add(1)
	}
	if r.Save != "" && err == nil {
		s.complain(r.Save, s.write(r.Save, r.Data))
	}
	text := AppendReply(nil, c.ID, r, err)
	if from.write != nil {
		from.write(text)
	} else {
		s.post(c, text)
	}
	var refusal *Refusal
	if from.write == nil && (!errors.As(err, &refusal) || refusal.Code != Rate) {
		s.last.put(text)
	}
	if r.after != nil {
		r.after()
	}
}

// post sends an answer the way its command names.
func (s *Server) post(c Command, text []byte) {
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
}

// write replaces a file of the directory that clients read.
func (s *Server) write(name string, text []byte) error {
	if s.group == 0 {
		return s.dir.Write(name, text, 0o640)
	}
	f, err := s.dir.ReplaceOpen(name, text, 0o640, func(f *os.File) error { return f.Chown(-1, s.group) })
	if err == nil {
		err = f.Close()
	}
	return err
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
	// How many there are is not asked each time: those that were fetched and
	// removed are noticed when it looks as if there were too many.
	if s.waiting.Load() >= filesMax {
		names, err := s.files.Names()
		if err != nil {
			return err
		}
		if len(names) >= filesMax {
			s.sweepFiles(names)
			if names, err = s.files.Names(); err != nil {
				return err
			}
		}
		if s.waiting.Store(int32(len(names))); len(names) >= filesMax {
			return fmt.Errorf("%s: %d answers wait to be fetched", s.files.Path(), len(names))
		}
	}
	s.waiting.Add(1)
	return s.files.Create(id, text, 0o600)
}

// sweep removes answers and reply FIFOs that nobody came for.
func (s *Server) sweep() {
	s.complain(fifosName, s.fifos.Sweep(sweepEvery))
	names, err := s.files.Names()
	s.complain(filesName, err)
	s.sweepFiles(names)
	s.waiting.Store(int32(len(names)))
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
