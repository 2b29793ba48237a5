package watch

import (
	"testing"
	"time"

	"vigil/pkg/heartbeat"
)

// TestUnwrittenIsNotRead: a file that was not written since it was read is asked
// for its time only, until it is.
func TestUnwrittenIsNotRead(t *testing.T) {
	s := begin(t, nil, nil)
	sender := s.sender("a", time.Second)
	s.run(10 * time.Second)
	sender.dead = true
	s.run(10 * time.Second)
	s.expect("a unknown>alive beat", "a alive>suspect timeout", "a suspect>dead timeout")
	s.reads, s.stats = 0, 0
	s.run(time.Minute)
	if s.reads > 0 || s.stats < 10 {
		t.Errorf("a dead one was read %d times, and asked for %d times", s.reads, s.stats)
	}
	s.spoil("a", heartbeat.Malformed)
	s.run(2 * time.Second)
	s.expect("rejected a malformed")
	s.reads = 0
	s.run(time.Minute)
	if s.reads > 0 {
		t.Errorf("what is no beat was read %d times", s.reads)
	}
	sender.dead = false
	s.run(2 * time.Second)
	s.expect("a dead>alive beat")
}

// TestLongIntervals: no beat is due yet, none is looked for in the file.
func TestLongIntervals(t *testing.T) {
	s := begin(t, nil, nil)
	s.sender("a", time.Minute)
	s.run(10 * time.Minute)
	if s.reads > 25 || s.stats < 90 {
		t.Errorf("ten beats: read %d times, asked for %d times", s.reads, s.stats)
	}
	s.expect("a unknown>alive beat")
}

// TestMany: among very many, the time of a write counts for a beat, and every
// deadline is as sharp as ever.
func TestMany(t *testing.T) {
	many := func(o *Options) { o.trust, o.Timeout = 4*time.Second, 5*time.Second } // and nothing is learned
	s := begin(t, many, nil)
	sender := s.sender("a", time.Second)
	sender.jitter = func() time.Duration { return 50 * time.Millisecond }
	s.run(time.Minute)
	if s.reads > 20 || s.stats < 12 {
		t.Errorf("in a minute read %d times, asked for %d times", s.reads, s.stats)
	}
	s.expect("a unknown>alive beat")
	for range 20 { // so that the last beat is found by either kind of look
		s.run(sender.next - s.clock)
		sender.dead = true
		s.after(3*time.Second, "a alive>suspect timeout")
		s.run(1900 * time.Millisecond)
		s.expect("a suspect>dead timeout")
		sender.dead = false
		s.run(2700 * time.Millisecond)
		s.expect("a dead>alive beat")
	}

	// What is no beat is found out in time to be called dead.
	s.run(sender.next - s.clock)
	sender.dead = true
	for range 50 {
		s.spoil("a", heartbeat.Malformed)
		s.run(101 * time.Millisecond)
	}
	if s.state("a") != Dead {
		t.Errorf("%v, after 5 s of garbage", s.state("a"))
	}
}

// TestManyClockSteps: a wall clock that is set tells of no beat, and of no death.
func TestManyClockSteps(t *testing.T) {
	s := begin(t, func(o *Options) { o.trust = 4 * time.Second }, nil)
	sender := s.sender("a", time.Second)
	for i := range 60 {
		s.run(700 * time.Millisecond)
		s.step += time.Duration(i%3-1) * time.Hour
	}
	s.expect("a unknown>alive beat")
	sender.dead = true
	s.run(3 * time.Second) // the last beat was up to an interval ago
	s.expect("a alive>suspect timeout")
}

// TestManyMistrusted: the time of a file that is another one, or that ought to
// be signed, tells nothing.
func TestManyMistrusted(t *testing.T) {
	for name, change := range map[string]func(s *sim){
		"another file":  func(s *sim) { s.files["a"].info.Ino++ },
		"another owner": func(s *sim) { s.files["a"].info.UID++ },
		"signed":        func(s *sim) { s.core.cfg.Signed = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, func(o *Options) { o.trust = 4 * time.Second }, nil)
			s.sender("a", time.Second)
			for range 10 {
				s.run(3 * time.Second)
				change(s)
				reads := s.reads
				s.run(2 * time.Second)
				if s.reads == reads {
					t.Errorf("not read for 2 s")
				}
			}
			s.expect("a unknown>alive beat")
		})
	}
}
