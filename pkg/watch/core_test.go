package watch

import (
	"testing"
	"time"

	"vigil/pkg/heartbeat"
)

func TestLifeOfOne(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.expect("a unknown>alive beat")
	sender := s.sender("a", time.Second)
	s.run(10 * time.Minute)
	s.expect()
	if got := s.core.entries[0].seq; sender.rec.Seq-got > 3 {
		t.Errorf("seq %d, sent %d", got, sender.rec.Seq)
	}
	sender.dead = true
	s.after(ms(sender.rec.BTMS)+3*time.Second-s.clock, "a alive>suspect timeout")
	s.after(ms(sender.rec.BTMS)+5*time.Second-s.clock, "a suspect>dead timeout")
	s.run(time.Hour)
	s.expect()
	sender.dead = false
	s.run(2 * time.Second) // to the next beat, and to the next look
	s.expect("a dead>alive beat")
}

func TestTransitionTells(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.run(4 * time.Second)
	if len(s.events) != 2 {
		t.Fatal(s.log())
	}
	ev := s.events[1]
	if ev.Age < 3*time.Second || ev.Age > 3100*time.Millisecond {
		t.Errorf("age %v", ev.Age)
	}
	ev.Age = 0
	want := Event{Kind: Transition, ID: "a", From: Alive, To: Suspect, Reason: "timeout", Beaten: true, Deadline: 5 * time.Second, Seq: 100, PID: 42}
	if ev != want {
		t.Errorf("have %+v\nwant %+v", ev, want)
	}
}

// TestStatus holds the judge to the table of states.
func TestStatus(t *testing.T) {
	want := map[heartbeat.Status]State{
		heartbeat.OK: Alive, heartbeat.Starting: Alive, heartbeat.Degraded: Degraded,
		heartbeat.Error: Failed, heartbeat.Stopping: Stopped,
	}
	codes := map[State]int{Alive: 0, Degraded: 1, Failed: 2, Stopped: 0, Held: 0, Suspect: 1, Dead: 2, Unknown: 3}
	for status, state := range want {
		s := begin(t, nil, func(s *sim) { s.beat("a", func(r *heartbeat.Record) { r.Status = status }) })
		if got := s.state("a"); got != state {
			t.Errorf("status %v: %v, want %v", status, got, state)
		}
		s.leases["a"] = s.lease("a", time.Minute)
		s.run(1100 * time.Millisecond)
		if got := s.state("a"); got != Held {
			t.Errorf("status %v under a hold: %v", status, got)
		}
	}
	for state, code := range codes {
		if States[state].Code != code {
			t.Errorf("%v: code %d, want %d", state, States[state].Code, code)
		}
	}
}

func TestStatusOfTheLiving(t *testing.T) {
	s := begin(t, nil, nil)
	sender := s.sender("a", time.Second)
	s.run(time.Second)
	s.expect("a unknown>alive beat")
	for _, tt := range []struct {
		status heartbeat.Status
		want   string
	}{
		{heartbeat.Degraded, "a alive>degraded status"},
		{heartbeat.Error, "a degraded>failed status"},
		{heartbeat.OK, "a failed>alive status"},
		{heartbeat.Stopping, "a alive>stopped status"},
		{heartbeat.OK, "a stopped>alive status"},
	} {
		sender.rec.Status = tt.status
		s.run(5 * time.Second)
		s.expect(tt.want)
	}
}

// TestSilenceOfTheFailed: an error does not become less of one by silence.
func TestSilenceOfTheFailed(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", func(r *heartbeat.Record) { r.Status = heartbeat.Error }) })
	s.expect("a unknown>failed status")
	s.after(5*time.Second, "a failed>dead timeout")

	s = begin(t, nil, func(s *sim) { s.beat("a", func(r *heartbeat.Record) { r.Status = heartbeat.Degraded }) })
	s.expect("a unknown>degraded status")
	s.after(3*time.Second, "a degraded>suspect timeout")
	s.after(1900*time.Millisecond, "a suspect>dead timeout")
}

func TestDeadlines(t *testing.T) {
	for _, tt := range []struct {
		name          string
		options       func(*Options)
		record        func(*heartbeat.Record)
		suspect, dead time.Duration
	}{
		{"of the interval", nil, func(r *heartbeat.Record) { r.IntervalMS = 10_000 }, 30 * time.Second, 50 * time.Second},
		{"the floor", nil, func(r *heartbeat.Record) { r.IntervalMS = 100 }, 3 * time.Second, 5 * time.Second},
		{"-timeout", func(o *Options) { o.Timeout = 2 * time.Second }, nil, 1500 * time.Millisecond, 2 * time.Second},
		{"-timeout for this id", func(o *Options) {
			o.Timeout = time.Minute
			o.Timeouts = map[string]time.Duration{"a": 4 * time.Second}
		}, nil, 2400 * time.Millisecond, 4 * time.Second},
		{"-timeout for another id", func(o *Options) { o.Timeouts = map[string]time.Duration{"b": time.Second} }, nil, 3 * time.Second, 5 * time.Second},
		{"ttl_ms without an interval", nil, func(r *heartbeat.Record) { r.IntervalMS = 0; r.TTLMS = 7000 }, 4200 * time.Millisecond, 7 * time.Second},
		{"ttl_ms", nil, func(r *heartbeat.Record) { r.TTLMS = 20_000 }, 12 * time.Second, 20 * time.Second},
		{"-timeout before ttl_ms", func(o *Options) { o.Timeout = 10 * time.Second }, func(r *heartbeat.Record) { r.TTLMS = 20_000 }, 6 * time.Second, 10 * time.Second},
		{"-ttl-max", nil, func(r *heartbeat.Record) { r.TTLMS = 1e10 }, 36 * time.Minute, time.Hour},
		{"-timeout before -ttl-max", func(o *Options) { o.Timeout = 10 * time.Second }, func(r *heartbeat.Record) { r.TTLMS = 1e10 }, 6 * time.Second, 10 * time.Second},
		{"-timeout-max", nil, func(r *heartbeat.Record) { r.IntervalMS = 10 * 365 * 24 * 3600 * 1000 }, 6 * time.Minute, 10 * time.Minute},
		{"-suspect", func(o *Options) { o.Config.Suspect = time.Second }, nil, time.Second, 5 * time.Second},
		{"the first beat", nil, func(r *heartbeat.Record) { r.Seq = 1 }, 6 * time.Second, 10 * time.Second},
		{"the first beat, -grace", func(o *Options) { o.Grace = time.Minute }, func(r *heartbeat.Record) { r.Seq = 1 }, 36 * time.Second, time.Minute},
		{"the first beat, -timeout", func(o *Options) { o.Timeout = 2 * time.Second }, func(r *heartbeat.Record) { r.Seq = 1 }, 1500 * time.Millisecond, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			why := "timeout"
			switch tt.name {
			case "-ttl-max":
				why = "ttl_max"
			case "-timeout-max":
				why = "timeout_max"
			}
			s := begin(t, tt.options, func(s *sim) { s.beat("a", tt.record) })
			s.expect("a unknown>alive beat")
			s.after(tt.suspect, "a alive>suspect "+why)
			s.after(tt.dead-tt.suspect-100*time.Millisecond, "a suspect>dead "+why)
		})
	}
}

// TestSuspectAtDeath: no time for suspicion.
func TestSuspectAtDeath(t *testing.T) {
	s := begin(t, func(o *Options) { o.Config.Suspect = time.Minute }, func(s *sim) { s.beat("a", nil) })
	s.log()
	s.after(5*time.Second, "a alive>dead timeout")
}

// TestPeakGap: a sender that was silent for 4 s and came back is granted 8 s.
func TestPeakGap(t *testing.T) {
	for _, told := range []bool{false, true} {
		s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
		s.run(4 * time.Second)
		s.expect("a unknown>alive beat", "a alive>suspect timeout")
		s.beat("a", func(r *heartbeat.Record) {
			if told { // the watcher has missed beats, but the sender has counted
				r.Seq += 3
				r.GapMaxMS = 4000
			}
		})
		s.run(1050 * time.Millisecond)
		s.expect("a suspect>alive beat")
		sender := s.sender("a", time.Second)
		s.run(6 * time.Second)
		sender.dead = true
		s.run(6 * time.Second)
		s.expect("a alive>suspect timeout")
		if dead := s.core.entries[0].detector.Dead(time.Second); dead < 7*time.Second || dead > 8100*time.Millisecond {
			t.Errorf("told %v: dead after %v", told, dead)
		}
		s.run(3 * time.Second)
		s.expect("a suspect>dead timeout")
	}
}

func TestStarting(t *testing.T) {
	s := begin(t, nil, nil)
	sender := s.sender("a", time.Second)
	sender.rec.Status = heartbeat.Starting
	s.beat("a", func(r *heartbeat.Record) { r.Status = heartbeat.Starting })
	s.run(9900 * time.Millisecond)
	s.expect("a unknown>alive beat")
	s.run(300 * time.Millisecond)
	s.expect("a alive>degraded starting_too_long")
	sender.rec.PID = 43 // started again, and starting still
	s.run(10 * time.Second)
	s.expect()
	sender.rec.Status = heartbeat.OK
	s.run(5 * time.Second)
	s.expect("a degraded>alive status")
}

func TestStopping(t *testing.T) {
	stopping := func(s *sim) {
		s.beat("a", func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })
	}
	s := begin(t, nil, stopping)
	s.run(24 * time.Hour)
	s.expect("a unknown>stopped status")
	delete(s.files, "a")
	s.run(time.Hour)
	s.expect()

	s = begin(t, func(o *Options) { o.Expect = []string{"a"} }, stopping)
	s.expect("a unknown>stopped status")
	s.after(5*time.Minute, "a stopped>dead stopped_too_long")
	s.beat("a", nil)
	s.run(time.Second)
	s.expect("a dead>alive beat")
}

func TestExpected(t *testing.T) {
	expect := func(o *Options) { o.Expect = []string{"a"} }
	s := begin(t, expect, nil)
	if s.state("a") != Unknown {
		t.Error(s.state("a"))
	}
	s.after(50*time.Second, "a unknown>dead never_seen")
	s.beat("a", nil)
	s.run(4 * time.Second)
	s.expect("a dead>alive beat", "a alive>suspect timeout")

	s = begin(t, func(o *Options) { expect(o); o.Grace = 7 * time.Second }, nil)
	s.after(7*time.Second, "a unknown>dead never_seen")

	s = begin(t, func(o *Options) { expect(o); o.Timeout = time.Second }, nil)
	s.after(2*time.Second, "a unknown>dead never_seen")

	s = begin(t, expect, func(s *sim) { s.spoil("a", heartbeat.NotRegular) })
	s.expect("rejected a not_regular")
	s.after(50*time.Second, "a unknown>dead not_regular")
}

func TestMissing(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil); s.spoil("b", heartbeat.Empty) })
	s.run(time.Second)
	s.expect("a unknown>alive beat", "rejected b empty")
	delete(s.files, "a")
	delete(s.files, "b")
	s.run(10 * time.Second)
	s.expect("a alive>suspect missing", "a suspect>dead missing")
	if _, ok := s.core.key("b"); ok {
		t.Error("b, which never was anything, is kept")
	}
	s.beat("a", nil)
	s.run(time.Second)
	s.expect("a dead>alive beat")
	s.beat("c", nil) // takes b's place
	s.run(time.Second)
	s.expect("c unknown>alive beat")
	if len(s.core.entries) != 2 {
		t.Errorf("%d entries", len(s.core.entries))
	}
}

func TestLatency(t *testing.T) {
	for _, d := range []time.Duration{0, 7, 19, 31, 49} {
		s := begin(t, nil, nil)
		s.run(d * time.Millisecond)
		s.beat("a", nil)
		s.run(20 * time.Second)
		for _, ev := range s.events {
			if late := ev.Age - map[State]time.Duration{Suspect: 3 * time.Second, Dead: 5 * time.Second}[ev.To]; ev.To != Alive && late > 60*time.Millisecond {
				t.Errorf("%v after %v", ev.To, ev.Age)
			}
		}
		if len(s.events) != 3 {
			t.Errorf("%v", s.log())
		}
	}
}

// TestIdle: while nothing happens, the watcher sleeps.
func TestIdle(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.sender("a", 5*time.Second) })
	wakes, end := 0, s.clock+time.Minute
	for ; s.clock < end; wakes++ {
		until := s.wake()
		s.move(until - s.clock)
		s.awake(until)
	}
	if wakes > 90 {
		t.Errorf("%d wake-ups in a minute", wakes)
	}
	s.expect("a unknown>alive beat")
}

// TestTenYears: an interval of years is no licence to be silent for as long.
func TestTenYears(t *testing.T) {
	for _, ttl := range []int64{0, 315_360_000_000} {
		s := begin(t, nil, func(s *sim) {
			s.beat("a", func(r *heartbeat.Record) { r.IntervalMS, r.TTLMS = 315_360_000_000, ttl })
		})
		s.log()
		longest := 10 * time.Minute // TimeoutMax
		if ttl > 0 {
			longest = time.Hour // TTLMax
		}
		s.run(longest + 10*time.Second)
		if s.state("a") != Dead {
			t.Errorf("ttl %d: %v after %v", ttl, s.state("a"), longest)
		}
	}
}
