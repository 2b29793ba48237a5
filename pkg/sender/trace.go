package sender

import (
	"errors"
	"io/fs"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/hold"
	"vigil/pkg/procfs"
	"vigil/pkg/rundir"
)

// Trace excuses a subject while some process traces any thread of it, a debugger
// most likely, for at most Longest. A tracer that never lets go would otherwise
// be an excuse for ever (systemd issue 33080): the next one begins when the
// subject has been untraced for as long. A tracer outside of our pid namespace
// cannot be seen.
type Trace struct {
	Longest time.Duration
	Dir     *rundir.Dir // where the excuse is made a hold, for all readers to see; nil for nowhere

	tracer func(pid int) (int, error) // in place of procfs.Debugger
	until  time.Duration              // the end of the excuse that began last; 0: the next may begin
	free   time.Duration              // since when the subject is untraced; 0: it is not
	asked  bool                       // a hold was asked for
	lease  hold.Lease                 // and given, if it has a nonce
	said   string
}

// step takes in whether the subject is traced at now, and tells whether that
// excuses it.
func (t *Trace) step(traced bool, now time.Duration) bool {
	if !traced {
		if t.free == 0 {
			t.free = now
		}
		if t.until != 0 && now-t.free >= t.Longest {
			t.until = 0
		}
		return false
	}
	t.free = 0
	if t.until == 0 {
		t.until = now + t.Longest
	}
	return now < t.until
}

// excuse gives the process that traces the subject, while that excuses it, or 0.
func (t *Trace) excuse(s *Sender, now time.Duration) int {
	if t == nil {
		return 0
	}
	if t.tracer == nil {
		t.tracer = procfs.Debugger
	}
	who, err := t.tracer(s.Subject.pid)
	if err != nil {
		t.say(s.Log.Warn, err.Error())
		return 0
	}
	if !t.step(who != 0, now) {
		t.release(s.Log)
		if who != 0 {
			t.say(s.Log.Warn, fmt.Sprintf("%s: traced by pid %d for over %v; no excuse any more", s.Subject.what, who, t.Longest))
		} else {
			t.say(s.Log.Info, "")
		}
		return 0
	}
	t.say(s.Log.Info, fmt.Sprintf("%s: traced by pid %d", s.Subject.what, who))
	t.take(s, who, now)
	return who
}

// take makes the excuse a hold. Whoever holds the id already excuses it too.
func (t *Trace) take(s *Sender, who int, now time.Duration) {
	if t.Dir == nil || t.asked {
		return
	}
	l, err := hold.Take(t.Dir, s.Record.ID, "hbsend", fmt.Sprintf("traced by pid %d", who), t.until-now)
	if _, ok := errors.AsType[*hold.HeldError](err); ok {
		return
	}
	t.asked, t.lease = true, l
	if err != nil {
		s.Log.Warn(err.Error())
		t.lease.Nonce = ""
	}
}

// release ends the hold, unless it has ended by itself.
func (t *Trace) release(log Log) {
	if t == nil || !t.asked {
		return
	}
	t.asked = false
	if t.lease.Nonce == "" {
		return
	}
	_, err := hold.Release(t.Dir, t.lease.ID, t.lease.Nonce, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, hold.ErrNotYours) {
		log.Warn(err.Error())
	}
}

func (t *Trace) say(log func(string, ...any), text string) {
	if text == t.said {
		return
	}
	t.said = text
	if text != "" {
		log(text)
	}
}
