package sender

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// life is what is known of the subject at one moment.
type life uint8

const (
	running life = iota
	silent       // beats are withheld
	held         // stopped, and excused by a hold
	ended        // one last beat says so
)

// Subject is the process that beats speak of. A pid proves existence, not
// progress: a process that spins or waits for ever is running.
type Subject struct {
	Trace *Trace // excuses it while somebody traces it; nil: nothing does

	pidfile string // followed over restarts; "" for one fixed process
	proc    *procfs.Process
	pid     int
	what    string         // "pid 17"
	named   procfs.Pidfile // that led to proc
	parting bool           // ended, and the beat that says so is not written yet
	said    string

	ended chan struct{} // closed when a fixed process has ended
	stir  chan struct{} // and when Run has to end
}

// ByPID is the process that bears pid now; it never becomes another one.
func ByPID(pid int) (*Subject, error) {
	s := &Subject{}
	return s, s.open(pid)
}

// ByPidfile is whatever process the file names, from one restart to the next.
// The file need not exist yet.
func ByPidfile(path string) *Subject { return &Subject{pidfile: path} }

func (s *Subject) open(pid int) error {
	proc, err := procfs.OpenProcess(pid)
	if err != nil {
		return err
	}
	s.proc, s.pid, s.what = proc, pid, fmt.Sprintf("pid %d", pid)
	return nil
}

// attend sees to it that the end of a fixed process does not wait for the next beat
// to be told.
func (s *Subject) attend(done <-chan struct{}) {
	if s == nil || s.pidfile != "" || s.proc == nil {
		return
	}
	proc, ended, stir := s.proc, make(chan struct{}), make(chan struct{})
	s.ended, s.stir = ended, stir
	waits := proc.Waiter()
	go func() {
		waits()
		close(ended)
	}()
	go func() {
		defer close(stir)
		select {
		case <-done:
		case <-ended:
		}
	}()
}

// news tells that the process has ended, until somebody has looked.
func (s *Subject) news() bool {
	if s == nil || s.ended == nil || s.parting {
		return false
	}
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// disturb is closed when it is no time to sleep any more.
func (s *Subject) disturb(done <-chan struct{}) <-chan struct{} {
	if s == nil || s.stir == nil || s.parting {
		return done
	}
	return s.stir
}

func (s *Subject) close() {
	if s.proc != nil {
		_ = s.proc.Close()
	}
	s.proc = nil
}

// look finds out how the subject is.
func (s *Sender) look(now time.Duration) life {
	sub := s.Subject
	if sub == nil {
		return running
	}
	if sub.pidfile != "" && !sub.parting {
		sub.follow(s.Log)
	}
	if sub.parting {
		return ended
	}
	if sub.proc == nil {
		s.last = 0
		return silent
	}
	st, err := procfs.ReadStat(sub.pid)
	switch {
	case sub.proc.Exited(), errors.Is(err, fs.ErrNotExist), err == nil && st.StartTime != sub.proc.StartTime:
		sub.close()
		sub.Trace.release(s.Log)
		sub.parting = true
		sub.say(s.Log, sub.what+": has ended")
		return ended
	case err != nil:
		sub.say(s.Log, err.Error()+"; beats are withheld")
		s.last = 0
		return silent
	}
	tracer := sub.Trace.excuse(s, now)
	if strings.IndexByte("TtZ", st.State) < 0 {
		sub.say(s.Log, "")
		return running
	}
	if s.Hold != nil {
		s.refresh(now)
		if l, ok := s.Hold.Active(s.Record.ID, now); ok {
			sub.say(s.Log, fmt.Sprintf("%s: %s, held by %s: %s", sub.what, stateWord(st.State), l.By, l.Reason))
			return held
		}
	}
	if tracer != 0 {
		sub.say(s.Log, fmt.Sprintf("%s: %s, traced by pid %d", sub.what, stateWord(st.State), tracer))
		return held
	}
	sub.say(s.Log, fmt.Sprintf("%s: %s; beats are withheld", sub.what, stateWord(st.State)))
	s.last = 0
	return silent
}

func stateWord(state byte) string {
	if state == 'Z' {
		return "zombie"
	}
	return "stopped"
}

// say tells a change of the subject, once.
func (s *Subject) say(log Log, text string) {
	if text == s.said {
		return
	}
	if text == "" {
		text = s.what + ": runs again"
		s.said = ""
	} else {
		s.said = text
	}
	log.Info(text)
}

// follow takes up the process that the pidfile names, if that is another one by
// now. The same file names the same process, dead or alive: after its end the
// number may be a stranger's.
func (s *Subject) follow(log Log) {
	named, err := procfs.ReadPidfile(s.pidfile)
	if err == nil && named == s.named {
		return
	}
	if err != nil && s.proc != nil {
		return // removed early, or being replaced: the process itself is known
	}
	before := s.proc
	if err == nil {
		err = s.open(named.PID)
	}
	switch {
	case err == nil:
		if before != nil {
			_ = before.Close()
		}
		s.named = named
		s.say(log, fmt.Sprintf("%s: followed by %s", s.what, s.pidfile))
		s.said = ""
	case before == nil:
		s.say(log, err.Error()+"; no beats until it names a process")
	}
}
