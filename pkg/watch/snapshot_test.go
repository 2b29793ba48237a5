package watch

import (
	"slices"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
)

func TestSnapshot(t *testing.T) {
	type heard struct {
		id  string
		at  time.Duration
		seq uint64
	}
	var beats []heard
	var snap Snapshot
	sweeps := 0
	var s *sim
	s = begin(t, func(o *Options) {
		o.Expect = []string{"never"}
		o.Timeout = 5 * time.Second
		o.Heard = func(id string, at time.Duration, seq uint64) { beats = append(beats, heard{id, at, seq}) }
		o.Ticked = func(_ *Watcher, now, took time.Duration) {
			sweeps++
			if s != nil && now != s.clock || took < 0 {
				t.Errorf("ticked at %v for %v", now, took)
			}
		}
	}, func(s *sim) { s.beat("a", nil) })
	if want := []heard{{"a", time.Hour, 100}}; !slices.Equal(beats, want) || sweeps != 1 {
		t.Errorf("%d sweeps heard %v, want %v", sweeps, beats, want)
	}
	s.Snapshot(&snap)
	want := []Known{
		{ID: "never", State: Unknown, Timeout: 5 * time.Second},
		{ID: "a", State: Alive, Beaten: true, Interval: time.Second, Timeout: 5 * time.Second, Seq: 100},
	}
	if !slices.Equal(snap.IDs, want) || !snap.Wall.Equal(s.wallNow()) {
		t.Errorf("at %v: %+v, want %+v", snap.Wall, snap.IDs, want)
	}

	s.run(2 * time.Second)
	s.spoil("a", heartbeat.Oversize)
	s.run(10 * time.Second)
	delete(s.files, "a")
	s.run(10 * time.Second)
	if state, ok := s.StateOf("a"); state != Dead || !ok {
		t.Errorf("%v, %v", state, ok)
	}
	if _, ok := s.StateOf("b"); ok {
		t.Error("knows of b")
	}
	s.Snapshot(&snap)
	want[0].State, want[1].State, want[1].Age = Dead, Dead, 22*time.Second
	if !slices.Equal(snap.IDs, want) || snap.Rejected[heartbeat.Oversize] != 1 {
		t.Errorf("%+v, want %+v; rejected %v", snap.IDs, want, snap.Rejected)
	}
}
