package watch

import (
	"errors"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
)

func TestRejected(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.run(time.Second)
	s.log()
	s.spoil("a", heartbeat.Oversize)
	s.run(10 * time.Second)
	s.expect("rejected a oversize", "a alive>suspect oversize", "a suspect>dead oversize")
	s.run(time.Minute)
	s.expect()
	if n := s.core.rejects[heartbeat.Oversize]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	s.spoil("a", heartbeat.Oversize) // written again
	s.run(5 * time.Second)
	s.spoil("a", heartbeat.DuplicateKey)
	s.run(5 * time.Second)
	s.expect("rejected a duplicate_key")
	if n := s.core.rejects[heartbeat.Oversize]; n != 2 {
		t.Errorf("counted %d times", n)
	}
	s.beat("a", nil)
	s.run(time.Second)
	s.expect("a dead>alive beat")
}

// TestHalfWritten: what may be caught half-way is looked at three times.
func TestHalfWritten(t *testing.T) {
	for looks := range 4 {
		s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
		s.log()
		s.run(2 * time.Second)
		s.beat("a", nil)
		good := *s.files["a"]
		s.spoil("a", heartbeat.Empty)
		n := 0
		s.during = func(string) {
			if n++; n > looks {
				*s.files["a"] = good
			}
		}
		s.run(2300 * time.Millisecond)
		if looks < 3 {
			s.expect()
		} else {
			s.expect("rejected a empty")
		}
	}
}

func TestUnreadable(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil); s.spoil("b", heartbeat.Unreadable) })
	s.expect("rejected b unreadable", "a unknown>alive beat")
	s.files["a"].err = errors.New("too many open files")
	s.run(time.Minute)
	s.expect("rejected a unreadable", "a alive>unknown unreadable")
	s.beat("a", nil)
	s.run(time.Second)
	s.expect("a unknown>alive beat")

	s = begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.run(6 * time.Second)
	s.log()
	s.spoil("a", heartbeat.Unreadable) // dead already: known
	s.run(6 * time.Second)
	s.expect("rejected a unreadable")
}

func TestReplay(t *testing.T) {
	hour := time.Hour.Milliseconds()
	for _, tt := range []struct {
		name   string
		change func(*heartbeat.Record)
		want   string // reason, or "" for a beat
		silent bool   // no beat, but no fault either
	}{
		{"later", func(r *heartbeat.Record) {}, "", false},
		{"the same again", func(r *heartbeat.Record) { r.BTMS = hour; r.Seq = 100 }, "", true},
		{"earlier", func(r *heartbeat.Record) { r.BTMS = hour - 1000 }, "replayed", false},
		{"the same millisecond, seq back", func(r *heartbeat.Record) { r.BTMS = hour; r.Seq = 99 }, "replayed", false},
		{"the same millisecond, next seq", func(r *heartbeat.Record) { r.BTMS = hour }, "", true},
		{"seq back, but later: the sender was started again", func(r *heartbeat.Record) { r.Seq = 1 }, "", false},
		{"of the future", func(r *heartbeat.Record) { r.BTMS += 60_000 }, "future", false},
		{"read between two clocks", func(r *heartbeat.Record) { r.BTMS += 8 }, "", false},
		{"of an earlier boot", func(r *heartbeat.Record) { r.Boot = lastBoot }, "replayed", false},
		{"of an earlier boot that was up for longer", func(r *heartbeat.Record) { r.Boot = lastBoot; r.BTMS += 1e9 }, "replayed", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
			s.run(2 * time.Second)
			s.log()
			s.beat("a", tt.change)
			s.run(2 * time.Second)
			switch {
			case tt.want != "":
				s.expect("rejected a "+tt.want, "a alive>suspect "+tt.want)
			case tt.silent:
				s.expect("a alive>suspect timeout")
			default:
				s.expect()
			}
		})
	}
}

// TestLastBeatOfAMillisecond: a sender may say stopping right after a beat.
func TestLastBeatOfAMillisecond(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.beat("a", nil) })
	s.beat("a", func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })
	s.run(5 * time.Second)
	s.expect("a unknown>alive beat", "a alive>stopped status")
}

func TestOtherBoot(t *testing.T) {
	of := func(boot string) func(*heartbeat.Record) {
		return func(r *heartbeat.Record) { r.Boot = boot }
	}
	s := begin(t, func(o *Options) { o.Expect = []string{"expected"} }, func(s *sim) {
		s.beat("a", of(lastBoot))
		s.beat("expected", of(lastBoot))
	})
	s.run(9 * time.Second)
	s.expect() // whatever its times say
	s.run(time.Hour)
	s.expect("expected unknown>dead other_boot")
	s.beat("a", of(lastBoot)) // it changes: so somebody beats
	s.run(2 * time.Second)
	s.expect("a unknown>alive beat")
	s.beat("a", func(r *heartbeat.Record) { r.Boot = lastBoot; r.BTMS -= 10_000 })
	s.run(2 * time.Second)
	s.expect("rejected a replayed", "a alive>suspect replayed")
	s.beat("a", of(thatBoot)) // of a third one: not by its times
	s.run(10 * time.Second)
	s.expect("a suspect>dead timeout")
	s.beat("a", nil)
	s.run(time.Second)
	s.expect("a dead>alive beat")
}

func TestForeignAtFirstSight(t *testing.T) {
	for _, tt := range []struct {
		name string
		age  time.Duration // by mtime
		want []string      // within two minutes
	}{
		{"fresh", time.Second, []string{"a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout"}},
		{"within the deadline", 20 * time.Second, []string{"a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout"}},
		{"older", time.Minute, []string{"a unknown>dead unchanged"}},
		{"older than the boot", 2 * time.Hour, nil},
		{"a moment ahead", -500 * time.Millisecond, []string{"a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout"}},
		{"of the future", -time.Hour, []string{"a unknown>dead unchanged"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t, nil, func(s *sim) {
				s.foreignBeat("a")
				s.files["a"].info.ModTime = s.wallNow().Add(-tt.age)
			})
			s.run(2 * time.Minute)
			s.expect(tt.want...)
			s.foreignBeat("a")
			s.run(10 * time.Second)
			if s.state("a") != Alive {
				t.Errorf("%v after a beat", s.state("a"))
			}
		})
	}
}

// TestForeign: a change of the file is a beat, whatever the wall clock does.
func TestForeign(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour} {
		s := begin(t, nil, func(s *sim) { s.foreignBeat("a") })
		s.log()
		for i := range 20 {
			s.run(4900 * time.Millisecond)
			if i == 10 {
				s.foreignBeat("a") // written before the step, read after it
				s.step += step
			} else {
				s.foreignBeat("a")
			}
		}
		s.expect()
		last := s.clock
		s.run(10 * time.Second)
		s.step -= step
		s.run(time.Minute)
		if len(s.events) != 2 {
			t.Fatal(s.log())
		}
		for i, want := range []time.Duration{15 * time.Second, 25 * time.Second} {
			if late := s.events[i].Age - want; late < 0 || late > 100*time.Millisecond {
				t.Errorf("step %v: %v at age %v", step, s.events[i].To, s.events[i].Age)
			}
		}
		if e := s.core.entries[0]; e.beat-last > 10*time.Millisecond || last-e.beat > 10*time.Millisecond {
			t.Errorf("step %v: beat at %v, seen as %v", step, last, e.beat)
		}
		s.events = nil
		s.files["a"].info.ModTime = s.wallNow() // touched
		s.run(6 * time.Second)
		s.expect("a dead>alive beat")
	}
}

// TestForeignRhythm: one that beats once a minute is granted that after the
// first time.
func TestForeignRhythm(t *testing.T) {
	s := begin(t, nil, func(s *sim) { s.foreignBeat("a") })
	s.run(time.Minute)
	s.foreignBeat("a")
	s.run(20 * time.Second)
	s.expect("a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout", "a dead>alive beat")
	for range 10 {
		s.run(40 * time.Second)
		s.foreignBeat("a")
		s.run(20 * time.Second)
	}
	s.expect()
}
