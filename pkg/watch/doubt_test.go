package watch

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// doubting starts a watcher that asks; asked gives the ids since the last call.
func doubting(t *testing.T) (s *sim, asked func() []string) {
	var ids []string
	s = begin(t, func(o *Options) {
		o.Timeout, o.Suspect, o.ConfirmMax = 10*time.Second, 6*time.Second, 30*time.Second
		o.Confirm = func(w *Watcher, ev Event) { ids = append(ids, ev.ID+" "+ev.To.String()+" "+ev.Reason) }
	}, func(s *sim) { s.beat("a", nil) })
	s.log()
	return s, func() []string {
		list := ids
		ids = nil
		return list
	}
}

// answer lets the loop hear an opinion at once.
func (s *sim) answer(id string, o Opinion) {
	s.Answer(id, o)
	s.lap(s.clock)
	s.consult()
	s.tick(false)
}

func TestConfirm(t *testing.T) {
	s, asked := doubting(t)
	s.after(6*time.Second, "a alive>suspect timeout")
	s.run(4 * time.Second)
	if got := asked(); !slices.Equal(got, []string{"a dead timeout"}) {
		t.Fatalf("asked %q", got)
	}
	s.run(20 * time.Second)
	s.expect() // it waits
	s.answer("a", SaysAlive)
	s.run(9 * time.Second)
	s.expect()
	if got := asked(); len(got) != 0 {
		t.Errorf("asked again too soon: %q", got)
	}
	s.run(2 * time.Second)
	if got := asked(); len(got) != 1 {
		t.Errorf("asked again: %q", got)
	}
	s.answer("a", SaysDead)
	s.run(100 * time.Millisecond)
	s.expect("a suspect>dead timeout")
	s.run(time.Minute)
	if got := asked(); len(got) != 0 {
		t.Errorf("a dead one is asked about: %q", got)
	}
	if len(s.warned) != 1 || !strings.HasPrefix(s.warned[0], "a: silent for longer than it may be") {
		t.Errorf("warnings %q", s.warned)
	}
}

// TestConfirmUnanswered: nobody lives for ever because nobody answers.
func TestConfirmUnanswered(t *testing.T) {
	for name, o := range map[string]Opinion{"in time": NoOpinion, "": SaysDead} {
		s, asked := doubting(t)
		s.run(11 * time.Second)
		s.expect("a alive>suspect timeout")
		asked()
		if name == "" { // an answer that it could not be asked
			s.answer("a", NoOpinion)
			s.run(100 * time.Millisecond)
		} else {
			s.run(29 * time.Second)
			s.expect()
			s.run(2 * time.Second)
		}
		s.expect("a suspect>dead timeout")
		if len(s.warned) != 1 || !strings.HasSuffix(s.warned[0], "; dead, as judged") || !strings.Contains(s.warned[0], name) {
			t.Errorf("%d: warnings %q", o, s.warned)
		}
		s.answer("a", SaysAlive) // too late
		s.run(time.Minute)
		s.expect()
	}
}

// TestConfirmBeats: a beat ends the question, and an answer of before says nothing
// about the next silence.
func TestConfirmBeats(t *testing.T) {
	s, asked := doubting(t)
	s.run(11 * time.Second)
	asked()
	s.beat("a", nil)
	s.run(5 * time.Second)
	s.expect("a alive>suspect timeout", "a suspect>alive beat")
	s.answer("a", SaysDead)
	s.run(100 * time.Millisecond)
	s.expect()
	s.run(6 * time.Second)
	s.expect("a alive>suspect timeout")
	if got := asked(); len(got) != 1 {
		t.Errorf("asked %q", got)
	}
	if len(s.core.doubts) != 1 {
		t.Errorf("%d doubts", len(s.core.doubts))
	}
	s.beat("a", nil)
	s.run(time.Second)
	if len(s.core.doubts) != 0 {
		t.Errorf("%d doubts are kept", len(s.core.doubts))
	}
}

// TestConfirmHeld: a hold ends the question.
func TestConfirmHeld(t *testing.T) {
	s, asked := doubting(t)
	s.run(11 * time.Second)
	asked()
	s.leases["a"] = s.lease("a", time.Minute)
	s.run(31 * time.Second)
	s.expect("a alive>suspect timeout", "hold a gdb", "a suspect>held hold")
	s.answer("a", SaysDead)
	s.expect()
}
