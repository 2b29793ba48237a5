package sender

import (
	"os"
	"time"

	"vigil/pkg/heartbeat"
)

// relay is Run with a relay. It sends no stopping: what ends is not the sender
// that readers wait for.
func (s *Sender) relay(done <-chan struct{}) error {
	r := s.Relay
	r.begin(s)
	defer r.report()
	input := r.file
	if r.path == "" {
		input = os.Stdin
	}
	go r.read(input)
	go func() {
		<-done
		r.stop()
	}()
	return s.forward(done)
}

// begin takes over what a forwarded beat has of our own.
func (r *Relay) begin(s *Sender) {
	r.base, r.clock = s.Record, s.Clock
	r.base.Seq, r.base.PID = 0, 0
}

// forward sends what the relay takes in, and stands in for the other sender while
// a hold excuses that it is silent.
func (s *Sender) forward(done <-chan struct{}) error {
	r := s.Relay
	heard := s.Clock.Now() // the other sender
	var stood time.Duration
	said := ""
	for sent := 0; ; {
		rec, ended, arrived := r.take()
		now := s.Clock.Now()
		select {
		case <-done:
			return nil
		default:
		}
		ceased := ended || now-heard >= 2*s.interval
		excuse := ""
		switch {
		case rec != nil:
			heard, ceased = now, false
		case ceased:
			r.heal()
			if excuse = s.excuse(now); excuse == "" {
				s.last = 0
				if ended {
					return r.end(s.Record.Status)
				}
			} else if now-stood >= s.interval {
				stood = now
				rec = r.standIn(&s.Record)
			}
		}
		said = s.tellRelay(said, ceased, excuse)
		wait := max(heard+2*s.interval-now, s.interval/4, time.Millisecond)
		if rec != nil {
			wrote, err := s.relayed(rec, now)
			if err != nil {
				return err
			}
			if wrote {
				if sent++; sent == s.Count {
					return nil
				}
			}
			// Who beats a thousand times a second is not followed in all of it.
			s.Clock.Sleep(min(max(s.interval/8, 10*time.Millisecond), time.Second), done)
		}
		s.Clock.Sleep(s.nap(now, wait), arrived)
	}
}

// relayed writes a beat under our own count.
func (s *Sender) relayed(rec *heartbeat.Record, now time.Duration) (wrote bool, err error) {
	rec.Seq = s.Record.Seq
	s.Record = *rec
	if rec.IntervalMS > 0 {
		s.setInterval(rec.IntervalMS)
	}
	late := time.Duration(rec.LateMS) * time.Millisecond
	return s.write(now, late)
}

// excuse says who holds the id now, or "". An orderly end needs no excuse.
func (s *Sender) excuse(now time.Duration) string {
	if s.Hold == nil || s.Record.Status == heartbeat.Stopping {
		return ""
	}
	s.refresh(now)
	l, ok := s.Hold.Active(s.Record.ID, now)
	if !ok {
		return ""
	}
	return "held by " + l.By + ": " + l.Reason
}

// tellRelay tells once that the other sender ceases, and that it comes back.
func (s *Sender) tellRelay(said string, ceased bool, excuse string) string {
	text := ""
	switch {
	case ceased && excuse != "":
		text = s.Relay.name + ": no beats; stands in, " + excuse
	case ceased:
		text = s.Relay.name + ": no beats; falls silent"
	}
	if text != said {
		if text == "" {
			s.Log.Info(s.Relay.name + ": beats again")
		} else {
			s.Log.Info(text)
		}
	}
	return text
}
