// Package sender beats: it decides when a heartbeat is due, what it says, and
// when silence is the honest thing.
package sender

import (
	"errors"
	"syscall"
	"time"

	"vigil/pkg/fmt"
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
	Record    heartbeat.Record // the members that stay: ID, PID, Boot, IntervalMS, TTLMS, Status, Msg …; Seq is the last one sent before
	Spread    float64          // jitter as a share of the interval
	Count     int              // beats to send, 0 for no end
	Name      string           // of the sink, in messages
	Sink      Sink
	Subject   *Subject   // the process the beats speak of; nil for none
	Inspector *Inspector // conditions and numbers from outside; nil for none
	Withhold  bool       // no beat while a condition fails, instead of a degraded one
	Relay     *Relay     // whose beats are forwarded; nil for none
	Hold      *hold.Reader
	Clock     Clock
	Random    func() float64 // in [0,1)
	Log       Log
	Ready     func() error // called once, after the first beat

	status   heartbeat.Status // of Record, as it was given
	msg      string
	metrics  []heartbeat.Metric
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
	lost    int           // beats for which there was no reader or no room
	regular bool          // the reader is missing: the next beat in turn will do
	backoff schedule.Backoff
}

// Run beats until done is closed (then the last beat says stopping), Count beats are
// sent, the subject has ended for good (ErrGone) or the sink is refused: what
// fails before the first beat and is no shortage of the moment, and another
// sender that stays for two intervals, is returned.
func (s *Sender) Run(done <-chan struct{}) error {
	s.status, s.msg, s.metrics = s.Record.Status, s.Record.Msg, s.Record.Metrics
	s.setInterval(s.Record.IntervalMS)
	if s.Relay != nil {
		return s.relay(done)
	}
	s.Subject.attend(done)
	now := s.Clock.Now()
	due := now
	for sent := 0; ; {
		late := max(now-due, 0)
		life := s.look(now)
		if s.Inspector != nil {
			life = s.inspect(now, life, done)
			now = s.Clock.Now() // it may have waited for the inspector
		}
		wrote := false
		if life != silent {
			var err error
			if wrote, err = s.beat(now, late, life); err != nil {
				return err
			}
		}
		if wrote {
			if sent++; sent == s.Count {
				return nil
			}
		}
		wait := schedule.Jitter(s.interval, s.Spread, s.Random)
		if life != silent && !wrote && !s.fault.regular {
			wait = s.fault.backoff.Next()
		}
		due = now + wait
		var ok bool
		if now, ok = s.sleep(due, done); !ok {
			s.stop()
			return nil
		}
	}
}

func (s *Sender) setInterval(ms int64) {
	s.interval = time.Duration(ms) * time.Millisecond
	first := max(s.interval/16, 50*time.Millisecond)
	s.fault.backoff.First, s.fault.backoff.Last = first, max(first, s.interval)
}

// beat writes one record. An error ends the sender.
func (s *Sender) beat(now, late time.Duration, life life) (wrote bool, err error) {
	r := &s.Record
	if s.Inspector == nil {
		r.Status, r.Msg = s.status, s.msg
	}
	switch life {
	case held:
		r.Status = heartbeat.Held
	case ended:
		r.Status, r.Msg = heartbeat.Error, s.Subject.what+" has ended"
	}
	if s.Subject != nil {
		r.PID = s.Subject.pid
	}
	if wrote, err = s.write(now, late); !wrote || err != nil {
		return wrote, err
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

// write stamps the record and gives it to the sink. An error ends the sender.
func (s *Sender) write(now, late time.Duration) (wrote bool, err error) {
	s.stamp(now, late)
	if err := s.Sink.Write(&s.Record); err != nil {
		s.Record.Seq--
		return false, s.failed(now, err)
	}
	s.last = now
	return true, s.succeeded(now)
}

// decay of the longest gap with each beat halves it in 60: 2^(-1/60).
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
	f := &s.fault
	if f.said != "" {
		kv := []any{"after", (now - f.since).Round(time.Millisecond)}
		if f.lost > 0 {
			kv = append(kv, "lost", f.lost)
		}
		s.Log.Info(s.Name+": beats again", kv...)
		f.said, f.busy, f.lost, f.regular = "", 0, 0, false
	}
	f.backoff.Reset()
	if s.begun {
		return nil
	}
	s.begun = true
	return s.Ready()
}

// failed says what is wrong, once, and decides whether to go on.
func (s *Sender) failed(now time.Duration, err error) error {
	f := &s.fault
	if f.regular = errors.Is(err, heartbeat.ErrNobody) || errors.Is(err, heartbeat.ErrFull); f.regular {
		f.lost++
	} else if errors.Is(err, heartbeat.ErrEnded) {
		return err
	}
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
	if errors.Is(err, heartbeat.ErrNobody) || errors.Is(err, heartbeat.ErrFull) {
		return true
	}
	no, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	switch no {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EINTR, syscall.EAGAIN, syscall.ESTALE:
		return true
	}
	return false
}

// sleep waits until due and looks at the holds meanwhile, so that whoever takes
// one need not wait a whole interval for the acknowledgement. It gives the time
// after it, and false once done is closed.
func (s *Sender) sleep(due time.Duration, done <-chan struct{}) (now time.Duration, ok bool) {
	for {
		now = s.Clock.Now()
		select {
		case <-done:
			return now, false
		default:
		}
		if now >= due || s.Subject.news() {
			return now, true
		}
		s.Clock.Sleep(s.nap(now, due-now), s.Subject.disturb(done))
	}
}

// nap is how long to sleep of wait at once; it looks at the holds.
func (s *Sender) nap(now, wait time.Duration) time.Duration {
	if s.Hold == nil {
		return wait
	}
	s.refresh(now)
	return min(wait, max(s.interval/4, time.Second))
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
	s.Record.Status, s.Record.Msg = heartbeat.Stopping, s.msg
	now := s.Clock.Now()
	s.stamp(now, 0)
	if err := s.Sink.Write(&s.Record); err != nil {
		s.Log.Warn(fmt.Sprintf("%v; the last beat is lost", err))
	}
}
