package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowd starts n senders whose beats are spread over their interval.
func (s *sim) crowd(n int, interval time.Duration) []*simSender {
	all := make([]*simSender, n)
	for i := range all {
		all[i] = s.sender(fmt.Sprintf("s%02d", i), interval)
		all[i].next += time.Duration(i) * interval / time.Duration(n)
	}
	s.run(10 * interval)
	s.log()
	return all
}

// tell counts the events by what they say without the id.
func (s *sim) tell() (deaths int, masses []Event) {
	for _, ev := range s.events {
		switch {
		case ev.Kind == MassFailure:
			masses = append(masses, ev)
		case ev.Kind == Transition && ev.To == Dead:
			deaths++
		}
	}
	return deaths, masses
}

func TestMassFailure(t *testing.T) {
	for _, tt := range []struct {
		senders, dying int
		mass           bool
	}{
		{3, 3, false}, {4, 4, true}, {10, 3, false}, {10, 4, true},
		{20, 6, false}, {20, 7, true}, {100, 30, false}, {100, 100, true},
	} {
		t.Run(fmt.Sprint(tt.dying, " of ", tt.senders), func(t *testing.T) {
			s := begin(t, nil, nil)
			all := s.crowd(tt.senders, 2*time.Second)
			for i := range tt.dying {
				all[i*tt.senders/tt.dying].dead = true
			}
			died := s.clock
			for s.run(50 * time.Millisecond); s.clock < died+time.Minute; s.run(50 * time.Millisecond) {
				deaths, masses := s.tell()
				if len(masses) > 0 && deaths > 0 && s.clock < masses[0].Span+died+10*time.Second-2*time.Second {
					t.Fatalf("deaths at once, %v after: %q", s.clock-died, s.log())
				}
			}
			deaths, masses := s.tell()
			if deaths != tt.dying {
				t.Errorf("%d deaths, want %d", deaths, tt.dying)
			}
			switch {
			case len(masses) == 0 && !tt.mass:
			case len(masses) != 1 || !tt.mass:
				t.Errorf("told %d times of a mass failure", len(masses))
			default:
				m := masses[0]
				if int(m.Count) > tt.dying || int(m.Count) <= max(3, tt.senders*3/10) || int(m.Of) != tt.senders || m.Span < 2*time.Second {
					t.Errorf("%+v", m)
				}
				oldest := slices.MaxFunc(s.events, func(a, b Event) int { return cmp.Compare(a.Age, b.Age) })
				if oldest.Age < 12*time.Second-150*time.Millisecond {
					t.Errorf("the first that fell silent was dead at age %v, not one interval later", oldest.Age)
				}
			}
		})
	}
}

// TestMassRecovers: who beats again while the verdict waits was never dead; and
// a second failure, later, is told of again.
func TestMassRecovers(t *testing.T) {
	s := begin(t, nil, nil)
	all := s.crowd(20, time.Second)
	for range 2 {
		for _, n := range all {
			n.dead = true
		}
		for n := 0; ; n++ {
			s.run(50 * time.Millisecond)
			if _, masses := s.tell(); len(masses) > 0 {
				break
			}
			if n > 200 {
				t.Fatal("no mass failure: ", s.log())
			}
		}
		for _, n := range all {
			n.dead = false
		}
		s.run(time.Minute)
		if deaths, masses := s.tell(); deaths != 0 || len(masses) != 1 {
			t.Errorf("%d deaths, %d mass failures: %q", deaths, len(masses), s.log())
		}
		for _, n := range all {
			if s.state(n.rec.ID) != Alive {
				t.Errorf("%s: %v", n.rec.ID, s.state(n.rec.ID))
			}
		}
		s.log()
	}
}

// TestMassOfOthers: those long dead, held or stopped, and deaths apart from each
// other, make no mass failure.
func TestMassOfOthers(t *testing.T) {
	s := begin(t, nil, nil)
	all := s.crowd(12, time.Second)
	for _, n := range all {
		n.dead = true
		s.run(10 * time.Second)
	}
	if deaths, masses := s.tell(); deaths != 11 && deaths != 12 || len(masses) != 0 {
		t.Errorf("%d deaths, %d mass failures", deaths, len(masses))
	}

	s = begin(t, nil, nil)
	all = s.crowd(12, time.Second)
	for i, n := range all {
		n.dead = true
		if i > 1 {
			s.leases[n.rec.ID] = s.lease(n.rec.ID, time.Hour)
		}
	}
	s.run(time.Minute)
	if deaths, masses := s.tell(); deaths != 2 || len(masses) != 0 {
		t.Errorf("%d deaths, %d mass failures: %s", deaths, len(masses), strings.Join(s.log(), "\n"))
	}
}

// TestMassAndLoss: a lost directory with senders of many intervals is told of
// once, and each is dead in the end.
func TestMassAndLoss(t *testing.T) {
	s := begin(t, nil, nil)
	for i := range 40 {
		s.sender(fmt.Sprintf("s%02d", i), time.Duration(1+i%4)*time.Second)
	}
	s.run(time.Minute)
	s.log()
	s.beats = nil
	clear(s.files)
	s.run(5 * time.Minute)
	deaths, masses := s.tell()
	if deaths != 40 || len(masses) == 0 || len(masses) > 3 {
		t.Errorf("%d deaths, %d mass failures", deaths, len(masses))
	}
}
