package sender

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/condition"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// Inspector looks at what may hang, a file system or a device driver, in a
// goroutine of its own: conditions, and a file of numbers to send along.
type Inspector struct {
	ID         string // of the beats: a hold on it excuses every condition
	Conditions *condition.Set
	Grace      time.Duration // for a condition that has not held yet
	Holds      *hold.Reader  // for the inspector alone; nil for none
	Numbers    string        // file to read before each beat; "" for none

	start   func(look func()) // in place of the go statement
	clocks  func() condition.Clock
	began   time.Duration // of the first look
	running chan struct{} // closed when the look under way has ended; nil if none is
	last    atomic.Pointer[finding]
	said    string // of the conditions
	fault   string // of the numbers, as told last
}

// finding is what one look has come to.
type finding struct {
	at      time.Duration // when it began
	verdict condition.Verdict
	held    bool // the id of the beats is, not only a condition
	metrics []heartbeat.Metric
	fault   error // why there are no metrics
}

// realClocks reads those of the machine for the conditions.
func realClocks() condition.Clock {
	return condition.Clock{Boot: boottime.Now(), Suspended: boottime.Suspended(), WallNS: time.Now().UnixNano()}
}

// Active tells whether a hold excuses the condition id, or all of them.
func (i *Inspector) Active(id string, now time.Duration) (hold.Lease, bool) {
	if i.Holds == nil {
		return hold.Lease{}, false
	}
	if l, ok := i.Holds.Active(i.ID, now); ok {
		return l, true
	}
	return i.Holds.Active(id, now)
}

func (i *Inspector) look(at time.Duration) {
	f := &finding{at: at}
	if i.Holds != nil {
		_, _ = i.Holds.Refresh(at) // the sender looks there too, and says what is wrong
		_, f.held = i.Holds.Active(i.ID, at)
	}
	if i.Conditions.Len() > 0 {
		f.verdict, _ = condition.Sum(i.Conditions.Judge(i.clocks, i, i.Grace))
	}
	if i.Numbers != "" {
		f.metrics, f.fault = readNumbers(i.Numbers)
	}
	i.last.Store(f)
}

// find gives what is known at now, after waiting for a new look for as long as
// patience. What is older than expiry is not known any more.
func (i *Inspector) find(now, patience, expiry time.Duration, clock Clock) finding {
	if i.began == 0 {
		i.began = now
	}
	if i.running == nil {
		ended := make(chan struct{})
		i.running = ended
		i.start(func() {
			i.look(now)
			close(ended)
		})
		clock.Sleep(patience, ended)
	}
	select {
	case <-i.running:
		i.running = nil
	default:
	}
	f, since := i.last.Load(), i.began
	if f != nil {
		since = f.at
	}
	if f != nil && now-since <= expiry {
		return *f
	}
	late := "for " + (now - since).Round(100*time.Millisecond).String()
	v := condition.Verdict{State: condition.Fails, Reason: "conditions not judged " + late}
	if f == nil && now-since <= i.Grace {
		v.State = condition.Waiting
	}
	if i.Conditions.Len() == 0 {
		v = condition.Verdict{}
	}
	lost := finding{at: now, verdict: v}
	if i.Numbers != "" {
		lost.fault = fmt.Errorf("%s: not read %s", i.Numbers, late)
	}
	return lost
}

// inspect fills in what the inspector has found, and gives what life is under
// these conditions.
func (s *Sender) inspect(now time.Duration, life life, done <-chan struct{}) life {
	i := s.Inspector
	if i.start == nil {
		i.start, i.clocks = func(look func()) { go look() }, realClocks
	}
	// Not before the beat is due: what is found should be as fresh as the beat.
	patience := min(s.interval/4, time.Second)
	if i.last.Load() == nil {
		patience = time.Second // there is nothing to fall back on
	}
	f := i.find(now, patience, max(2*s.interval, 2*time.Second), s.Clock)
	r := &s.Record
	r.Status, r.Msg = s.status, s.msg
	s.number(&f)
	v := f.verdict
	s.tell(v)
	if v.State == condition.Holds {
		return life
	}
	switch v.State {
	case condition.Held:
		// Who sees no hold on this id does not believe that it is held: where only a
		// condition is, that one is left out of account.
		if life == running && f.held {
			return held
		}
		return life
	case condition.Waiting:
		if r.Status == heartbeat.OK {
			r.Status = heartbeat.Starting
		}
	case condition.Fails:
		if s.Withhold && life == running {
			s.last = 0
			return silent
		}
		if r.Status != heartbeat.Error {
			r.Status = heartbeat.Degraded
		}
	}
	r.Msg = clip(explain(v))
	return life
}

// number puts the metrics together, and tells once why some are missing.
func (s *Sender) number(f *finding) {
	s.Record.Metrics = s.metrics
	if f.fault == nil && len(f.metrics) > 0 {
		all := append(s.metrics[:len(s.metrics):len(s.metrics)], f.metrics...)
		if f.fault = heartbeat.CheckMetrics(all); f.fault == nil {
			s.Record.Metrics = all
		} else {
			f.fault = fmt.Errorf("%s: %w", s.Inspector.Numbers, f.fault)
		}
	}
	text := ""
	if f.fault != nil {
		text = f.fault.Error()
	}
	switch {
	case text == s.Inspector.fault:
	case text == "":
		s.Log.Info(s.Inspector.Numbers + ": read again")
	default:
		s.Log.Warn(text + "; beats go without its numbers")
	}
	s.Inspector.fault = text
}

// tell tells a change of the conditions, once: how long something has been silent
// is no change.
func (s *Sender) tell(v condition.Verdict) {
	i := s.Inspector
	text := ""
	switch v.State {
	case condition.Held:
		text = "excused, "
	case condition.Waiting:
		text = "waits for "
	case condition.Fails:
		text = "fails: "
		if s.Withhold {
			text = "beats are withheld: "
		}
	}
	if text+v.ID == i.said {
		return
	}
	i.said = text + v.ID
	switch v.State {
	case condition.Holds:
		s.Log.Info("conditions hold")
	case condition.Fails:
		s.Log.Warn(text + explain(v))
	default:
		s.Log.Info(text + explain(v))
	}
}

func explain(v condition.Verdict) string {
	if v.ID == "" {
		return v.Reason
	}
	return v.ID + ": " + v.Reason
}

// clip keeps a reason within what every record has room for.
func clip(s string) string { return s[:min(len(s), 256)] }

// readSmall reads a regular file of at most limit bytes, white space included. The
// path is the operator's: symbolic links are followed, but a FIFO or device is
// refused without waiting for it.
func readSmall(path, what string, limit int) ([]byte, *syscall.Stat_t, error) {
	f, err := rundir.OpenKind(path, os.O_RDONLY, syscall.S_IFREG)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: open %s: %w", path, what, errors.Unwrap(err))
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, nil, fmt.Errorf("%s: %s: not a regular file", path, what)
	}
	b := make([]byte, limit+1)
	n, err := io.ReadFull(f, b)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, nil, fmt.Errorf("%s: read %s: %w", path, what, errors.Unwrap(err))
	}
	if n > limit {
		return nil, nil, fmt.Errorf("%s: %s: over %d bytes", path, what, limit)
	}
	return b[:n], &st, nil
}
