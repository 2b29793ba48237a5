package watch

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
)

// check is one look in the simulated world.
func check(t *testing.T, change func(*Options), place func(*sim)) []*Report {
	t.Helper()
	s := begin(t, func(o *Options) {
		o.Once = true
		if change != nil {
			change(o)
		}
	}, place)
	reports, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}
	return reports
}

func TestCheckWorst(t *testing.T) {
	with := func(ago time.Duration, status heartbeat.Status) func(*heartbeat.Record) {
		return func(r *heartbeat.Record) { r.BTMS -= ago.Milliseconds(); r.Status = status }
	}
	reports := check(t, nil, func(s *sim) {
		s.beat("alive", with(0, heartbeat.OK))
		s.beat("stopped", with(time.Minute, heartbeat.Stopping))
		s.beat("degraded", with(0, heartbeat.Degraded))
		s.beat("suspect", with(4*time.Second, heartbeat.OK))
		s.spoil("unknown", heartbeat.Unreadable)
		s.beat("failed", with(0, heartbeat.Error))
		s.beat("dead", with(time.Minute, heartbeat.OK))
		s.beat("held", with(time.Minute, heartbeat.OK))
		s.leases["held"] = s.lease("held", time.Hour)
	})
	var order []string
	for _, r := range reports {
		order = append(order, r.ID)
		if r.State.String() != r.ID {
			t.Errorf("%s is %v", r.ID, r.State)
		}
	}
	want := []string{"dead", "failed", "unknown", "suspect", "degraded", "alive", "held", "stopped"}
	if !slices.Equal(order, want) {
		t.Errorf("have %q\nwant %q", order, want)
	}
	for i, code := range []int{2, 2, 3, 1, 1, 0, 0, 0, 3} {
		if got := Worst(reports[i:]); got != code {
			t.Errorf("worst of %q: %d, want %d", order[i:], got, code)
		}
	}
}

// TestCheckStalled: what a stall has made is not known; a short one is outlived.
func TestCheckStalled(t *testing.T) {
	for stalls, want := range []State{Dead, Dead, Unknown, Unknown} {
		reads := 0
		reports := check(t, nil, func(s *sim) {
			s.beat("alive", nil)
			s.beat("a", func(r *heartbeat.Record) { r.BTMS -= 60_000 })
			s.during = func(string) {
				// The first two are of begin; then there are two in each sweep.
				if reads++; reads > 2 && (reads-3)/2 < stalls {
					s.move(300 * time.Millisecond)
				}
			}
		})
		if reports[0].State != want || reports[1].State != Alive {
			t.Errorf("%d sweeps with stalls: %v and %v, want %v", stalls, reports[0].State, reports[1].State, want)
		}
		if want == Unknown && reports[0].Reason != "local_stall" {
			t.Errorf("reason %q", reports[0].Reason)
		}
	}
}

func TestCheckFirstBeat(t *testing.T) {
	reports := check(t, nil, func(s *sim) {
		s.beat("a", func(r *heartbeat.Record) { r.Seq = 1; r.BTMS -= 6000 })
	})
	if reports[0].State != Dead {
		t.Errorf("%+v: a check knows of no first beat", *reports[0])
	}
}

func TestReportText(t *testing.T) {
	reports := []*Report{
		{ID: "svc-1", State: Dead, Reason: "timeout", Read: true, Beaten: true, Age: 95 * time.Second, Late: 80 * time.Second, Deadline: 25 * time.Second, Seq: 7, PID: 42, Status: "ok"},
		{ID: "b", State: Unknown, Reason: "never_seen", Deadline: 2 * time.Hour},
		{ID: "c", State: Alive, Read: true, Beaten: true, Age: 1234 * time.Millisecond, Deadline: 1500 * time.Millisecond, Status: "starting"},
	}
	want := strings.TrimPrefix(`
ID     STATE    AGE    DEADLINE  SEQ  PID  STATUS    REASON
svc-1  dead     1m35s  25s       7    42   ok        timeout, 1m20s late
b      unknown  -      2h0m      -    -    -         never_seen
c      alive    1.2s   1.5s      0    -    starting  -
`, "\n")
	if got := string(Table(reports)); got != want {
		t.Errorf("have\n%s\nwant\n%s", got, want)
	}
	for i, want := range []string{
		`{"id":"svc-1","state":"dead","age_ms":95000,"deadline_ms":25000,"seq":7,"status":"ok","pid":42,"reason":"timeout"}`,
		`{"id":"b","state":"unknown","age_ms":null,"deadline_ms":7200000,"seq":null,"status":null,"pid":null,"reason":"never_seen"}`,
		`{"id":"c","state":"alive","age_ms":1234,"deadline_ms":1500,"seq":0,"status":"starting","pid":null,"reason":""}`,
	} {
		var w jsonline.Writer
		if reports[i].Append(&w); string(w.Bytes()) != want {
			t.Errorf("have %s\nwant %s", w.Bytes(), want)
		}
	}
}

func TestEventText(t *testing.T) {
	wall := time.UnixMilli(1763820000123)
	const head = `{"time":"2025-11-22T14:00:00.123Z","event":`
	for _, tt := range []struct {
		ev   Event
		want string
	}{
		{Event{Kind: Transition, ID: "a", From: Alive, To: Suspect, Reason: "timeout", Beaten: true, Age: 3005 * time.Millisecond, Deadline: 5 * time.Second, Seq: 7, PID: 42},
			`"transition","id":"a","from":"alive","to":"suspect","age_ms":3005,"deadline_ms":5000,"seq":7,"pid":42,"reason":"timeout"}`},
		{Event{Kind: Transition, ID: "a", From: Unknown, To: Dead, Reason: "never_seen", Deadline: 5 * time.Second},
			`"transition","id":"a","from":"unknown","to":"dead","age_ms":null,"deadline_ms":5000,"seq":null,"pid":null,"reason":"never_seen"}`},
		{Event{Kind: Rejected, ID: "a", Reason: "malformed", Detail: "offset 3: \x1b[m", Count: 2},
			`"rejected","id":"a","reason":"malformed","detail":"offset 3: \u001b[m","count":2}`},
		{Event{Kind: LocalStall, Span: 2 * time.Second, Reason: "suspend"}, `"local_stall","stall_ms":2000,"reason":"suspend"}`},
		{Event{Kind: HoldBegun, ID: "a", By: "root", Reason: "gdb", Span: time.Minute}, `"hold","id":"a","by":"root","reason":"gdb","left_ms":60000}`},
		{Event{Kind: HoldEnding, ID: "_host", By: "root", Reason: "gdb", Span: time.Second}, `"hold_ending","id":"_host","by":"root","reason":"gdb","left_ms":1000}`},
		{Event{Kind: HoldEnded, ID: "a", By: "root", Reason: "gdb"}, `"hold_end","id":"a","by":"root","reason":"gdb"}`},
	} {
		var w jsonline.Writer
		if tt.ev.Append(&w, wall); string(w.Bytes()) != head+tt.want {
			t.Errorf("have %s\nwant %s", w.Bytes(), head+tt.want)
		}
	}
}

// journal is a Log for several goroutines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Warn(msg string, _ ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, msg)
}

// closedGate is a writer that takes nothing before it is opened.
type closedGate struct {
	open  chan struct{}
	lines int
}

func (g *closedGate) Write(p []byte) (int, error) {
	<-g.open
	g.lines++
	return len(p), nil
}

// TestLinesWithoutReader: nobody reads, then somebody does; Put goes on.
func TestLinesWithoutReader(t *testing.T) {
	g := &closedGate{open: make(chan struct{})}
	var log journal
	l := NewLines(g, "stdout", "events", &log)
	ev := Event{Kind: LocalStall}
	for range 3 * linesMost {
		l.Put(&ev)
	}
	if !slices.Equal(log.lines, []string{"stdout: takes no more: events are dropped"}) {
		t.Errorf("warnings %q", log.lines)
	}
	close(g.open)
	for deadline := time.Now().Add(time.Minute); len(l.queue) == linesMost && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	l.Put(&ev)
	if len(log.lines) != 2 || log.lines[1] != "stdout: takes more again; some events are lost" {
		t.Errorf("warnings %q", log.lines)
	}
	l.Close(time.Minute)
	// One may have been on its way while the queue was filled.
	if g.lines != linesMost+1 && g.lines != linesMost+2 {
		t.Errorf("%d lines written", g.lines)
	}
}

type brokenWriter struct{ errs []error }

func (b *brokenWriter) Write(p []byte) (int, error) {
	err := b.errs[0]
	b.errs = b.errs[1:]
	return len(p), err
}

func TestLinesBroken(t *testing.T) {
	var log journal
	broken := &os.PathError{Op: "write", Path: "/dev/stdout", Err: errors.New("broken pipe")}
	l := NewLines(&brokenWriter{[]error{nil, broken, broken, nil, broken}}, "stdout", "events", &log)
	for range 5 {
		l.Put(&Event{Kind: LocalStall})
	}
	l.Close(time.Minute)
	want := "stdout: write: broken pipe; events are lost"
	if !slices.Equal(log.lines, []string{want, want}) {
		t.Errorf("warnings %q", log.lines)
	}
}
