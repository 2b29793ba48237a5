// Package sender beats: it decides when a heartbeat is due, what it says, and
// when silence is the honest thing.
package sender

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/schedule"
)

// ErrGone is reported when the process that the beats spoke of has ended.
var ErrGone = errors.New("process has ended")

// Sink takes records: a *heartbeat.File.
type Sink interface {
	Write(*heartbeat.Record) error
}

// Clock is time, real or simulated.
type Clock interface {
	Now() time.Duration                          // CLOCK_BOOTTIME
	Wall() int64                                 // milliseconds since 1970, to show
	Sleep(d time.Duration, done <-chan struct{}) // ends early with done
}

// Log hears what a person should know.
type Log interface {
	Warn(msg string, kv ...any)
	Info(msg string, kv ...any)
}

// Sender sends the heartbeats of one id. Fill the fields, then call Run once.
type Sender struct {
	Record  heartbeat.Record // the members that stay: ID, PID, Boot, IntervalMS, TTLMS, Status, Msg …; Seq is the last one sent before
	Spread  float64          // jitter as a share of the interval
	Count   int              // beats to send, 0 for no end
	Name    string           // of the sink, in messages
	Sink    Sink
	Subject *Subject     // the process the beats speak of; nil for none
	Hold    *hold.Reader // excuses a stopped subject; nil for none
	Clock   Clock
	Random  func() float64 // in [0,1)
	Log     Log
	Ready   func() error // called once, after the first beat

	interval time.Duration
	last     time.Duration // of the last beat, 0 after a silence
	peak     time.Duration // decaying longest gap
	begun    bool          // a beat has been written
	fault    fault
	holdSaid string
}

// fault is a sink that does not take what it is given.
type fault struct {
	said    string
	since   time.Duration
	busy    time.Duration // since when another sender has the file; 0 when not
	backoff schedule.Backoff
}

// Run beats until done is closed (then the last beat says stopping), Count beats are
// sent, the subject has ended for good (ErrGone) or the sink is refused: what
// fails before the first beat and is no shortage of the moment, and another
// sender that stays for two intervals, is returned.
func (s *Sender) Run(done <-chan struct{}) error {
	s.interval = time.Duration(s.Record.IntervalMS) * time.Millisecond
	first := max(s.interval/16, 50*time.Millisecond)
	s.fault.backoff = schedule.Backoff{First: first, Last: max(first, s.interval)}
	due := s.Clock.Now()
	for sent := 0; ; {
		now := s.Clock.Now()
		life := s.look(now)
		wrote := false
		if life != silent {
			var err error
			if wrote, err = s.beat(now, now-due, life); err != nil {
				return err
			}
		}
		if wrote {
			if sent++; sent == s.Count {
				return nil
			}
		}
		wait := schedule.Jitter(s.interval, s.Spread, s.Random)
		if life != silent && !wrote {
			wait = s.fault.backoff.Next()
		}
		due = now + wait
		if !s.sleep(due, done) {
			s.stop()
			return nil
		}
	}
}

// beat writes one record. An error ends the sender.
func (s *Sender) beat(now, late time.Duration, life life) (wrote bool, err error) {
	r := &s.Record
	status, msg := r.Status, r.Msg
	switch life {
	case held:
		r.Status = heartbeat.Held
	case ended:
		r.Status, r.Msg = heartbeat.Error, s.Subject.what+" has ended"
	}
	if s.Subject != nil {
		r.PID = s.Subject.pid
	}
	s.stamp(now, late)
	err = s.Sink.Write(r)
	r.Status, r.Msg = status, msg
	if err != nil {
		r.Seq--
		return false, s.failed(now, err)
	}
	s.last = now
	if err := s.succeeded(now); err != nil {
		return true, err
	}
	if life == ended {
		s.last = 0
		s.Subject.parting = false
		if s.Subject.pidfile == "" {
			return true, fmt.Errorf("%s: %w", s.Subject.what, ErrGone)
		}
	}
	return true, nil
}

// halfLife of the longest gap is 60 beats: 2^(-1/60).
const decay = 0.988514020352896

// stamp sets the members that change with each beat.
func (s *Sender) stamp(now, late time.Duration) {
	r := &s.Record
	s.peak = time.Duration(float64(s.peak) * decay)
	if s.last > 0 {
		s.peak = max(s.peak, now-s.last)
	}
	r.Seq++
	r.BTMS = now.Milliseconds()
	r.TSMS = s.Clock.Wall()
	r.LateMS = max(0, late.Milliseconds())
	r.GapMaxMS = s.peak.Milliseconds()
}

func (s *Sender) succeeded(now time.Duration) error {
	if f := &s.fault; f.said != "" {
		s.Log.Info(s.Name+": beats again", "after", (now - f.since).Round(time.Millisecond))
		f.said, f.busy = "", 0
	}
	s.fault.backoff.Reset()
	if s.begun {
		return nil
	}
	s.begun = true
	return s.Ready()
}

// failed says what is wrong, once, and decides whether to go on.
func (s *Sender) failed(now time.Duration, err error) error {
	f := &s.fault
	if !s.begun && (s.Count == 1 || !passing(err)) {
		if !errors.Is(err, heartbeat.ErrBusy) {
			return err
		}
	}
	if errors.Is(err, heartbeat.ErrBusy) {
		if f.busy == 0 {
			f.busy = now
		} else if now-f.busy >= 2*s.interval {
			return err
		}
	} else {
		f.busy = 0
	}
	if f.said == "" {
		f.since = now
	}
	if text := err.Error(); text != f.said {
		f.said = text
		s.Log.Warn(text + "; trying on")
	}
	return nil
}

// passing tells a shortage that may be over in a moment from a refusal.
func passing(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	switch no {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EINTR, syscall.EAGAIN, syscall.ESTALE:
		return true
	}
	return false
}

// sleep waits until due and looks at the holds meanwhile, so that whoever takes
// one need not wait a whole interval for the acknowledgement. It gives false
// once done is closed.
func (s *Sender) sleep(due time.Duration, done <-chan struct{}) bool {
	step := max(s.interval/4, time.Second)
	for {
		select {
		case <-done:
			return false
		default:
		}
		now := s.Clock.Now()
		if now >= due {
			return true
		}
		wait := due - now
		if s.Hold != nil {
			s.refresh(now)
			wait = min(wait, step)
		}
		s.Clock.Sleep(wait, done)
	}
}

func (s *Sender) refresh(now time.Duration) {
	_, err := s.Hold.Refresh(now)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.holdSaid && text != "" {
		s.Log.Warn(text)
	}
	s.holdSaid = text
}

// stop sends the last beat of an orderly end, if the subject is not known to
// be silent or gone.
func (s *Sender) stop() {
	if !s.begun || s.last == 0 {
		return
	}
	s.Record.Status = heartbeat.Stopping
	now := s.Clock.Now()
	s.stamp(now, 0)
	if err := s.Sink.Write(&s.Record); err != nil {
		s.Log.Warn(fmt.Sprintf("%v; the last beat is lost", err))
	}
}
