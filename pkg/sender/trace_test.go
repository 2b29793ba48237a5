package sender

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// The excuse lasts for D, however often the tracer comes and goes; the next one
// has to wait until the subject was untraced for D.
func TestTraceIsRearmedAfterAsLong(t *testing.T) {
	tr := Trace{Longest: 10 * time.Second}
	for _, tt := range []struct {
		from, to int // seconds
		traced   bool
		excused  bool
	}{
		{100, 105, false, false},
		{105, 108, true, true},
		{108, 109, false, false},
		{109, 115, true, true},   // the same excuse, up to 115
		{115, 130, true, false},  // over
		{130, 139, false, false}, // not for long enough
		{139, 140, true, false},
		{140, 151, false, false},
		{151, 161, true, true}, // 11 s untraced: again
		{161, 200, true, false},
	} {
		for s := tt.from; s < tt.to; s++ {
			if got := tr.step(tt.traced, time.Duration(s)*time.Second); got != tt.excused {
				t.Errorf("at %d s, traced %v: excused %v", s, tt.traced, got)
			}
		}
	}
}

// traced makes a sender with a subject and a tracer that the test decides on.
func traced(t *testing.T, dir string) (w *world, s *Sender, become func(syscall.Signal, string), tracer *int) {
	t.Helper()
	w, s = newWorld(t)
	w.now = boottime.Now()
	pid, become := child(t)
	var err error
	if s.Subject, err = ByPID(pid); err != nil {
		t.Fatal(err)
	}
	tracer = new(int)
	s.Subject.Trace = &Trace{Longest: 10 * time.Second, tracer: func(int) (int, error) { return *tracer, nil }}
	if dir != "" {
		if s.Subject.Trace.Dir, err = rundir.Open(dir); err != nil {
			t.Fatal(err)
		}
		if s.Hold, err = hold.NewReader(dir, "hbsend", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return w, s, become, tracer
}

func TestStoppedWhileTracedIsHeld(t *testing.T) {
	w, s, become, tracer := traced(t, "")
	t0 := w.now.Seconds()
	w.at(t0+2.5, func() { *tracer = 77; become(syscall.SIGSTOP, "T") })
	w.at(t0+20.5, func() { *tracer = 0; become(syscall.SIGCONT, "S") })
	w.at(t0+22.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.statuses(t0-1, t0+30), " "); got != "ok ok ok held held held held held held held held held held ok ok stopping" {
		t.Errorf("beats: %s", got)
	}
	who := fmt.Sprintf("pid %d: ", s.Subject.pid)
	w.expectSaid("ready", "info: "+who+"traced by pid 77", "info: "+who+"stopped, traced by pid 77",
		"warning: "+who+"traced by pid 77 for over 10s; no excuse any more", "info: "+who+"stopped; beats are withheld",
		"info: "+who+"runs again")
}

// A process that is traced and runs is alive, whatever the tracer is for.
func TestTracedAndRunningBeats(t *testing.T) {
	w, s, _, tracer := traced(t, "")
	*tracer = 77
	t0 := w.now.Seconds()
	w.at(t0+15.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	if got := w.statuses(t0-1, t0+15.2); len(got) != 16 || got[15] != "ok" {
		t.Errorf("beats: %v", got)
	}
}

// With a directory of holds the excuse is one, for every reader to see.
func TestTraceTakesAHold(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, s, become, tracer := traced(t, dir)
	d := s.Subject.Trace.Dir
	mine, err := hold.NewReader(dir, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	holder := func() string {
		_, _ = mine.Refresh(w.now)
		l, _ := mine.Active("svc", w.now)
		return l.By
	}
	t0 := w.now.Seconds()
	expect := func(at float64, want string) {
		w.at(at, func() {
			if got := holder(); got != want {
				t.Errorf("at +%v s: held by %q, want %q", at-t0, got, want)
			}
		})
	}
	w.at(t0+2.5, func() { *tracer = 77; become(syscall.SIGSTOP, "T") })
	expect(t0+4.5, "hbsend")
	w.at(t0+5.5, func() { *tracer = 0; become(syscall.SIGCONT, "S") })
	expect(t0+7.5, "")
	w.at(t0+8, func() {
		if _, err := hold.Take(d, "svc", "me", "by hand", time.Hour); err != nil {
			t.Error(err)
		}
		*tracer = 78
	})
	expect(t0+10.5, "me")
	w.at(t0+11, func() { *tracer = 0 })
	expect(t0+12.5, "me")
	w.at(t0+13.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.statuses(t0+2.6, t0+5.2), " "); got != "held held held" {
		t.Errorf("beats: %s", got)
	}
}

func TestTraceThatCannotBeSeen(t *testing.T) {
	w, s, _, _ := traced(t, "")
	s.Subject.Trace.tracer = func(int) (int, error) { return 0, errors.New("pid 1: task: permission denied") }
	w.at(w.now.Seconds()+5.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	w.expectSaid("warning: pid 1: task: permission denied", "ready")
	if w.beats[3].Status != heartbeat.OK {
		t.Errorf("%+v", w.beats[3])
	}
}
