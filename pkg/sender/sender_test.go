package sender

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/procfs"
	"vigil/pkg/rundir"
)

// world is a simulated clock, the sink and the log of one sender. Sleeping
// moves the clock, plus oversleep; at a planned moment something happens.
type world struct {
	t         *testing.T
	now       time.Duration
	oversleep time.Duration
	plan      []event
	beats     []heartbeat.Record
	fail      error
	said      []string
	done      chan struct{}
}

type event struct {
	at time.Duration
	do func()
}

func (w *world) Now() time.Duration { return w.now }
func (w *world) Wall() int64        { return 1763820000000 + w.now.Milliseconds() }

func (w *world) Sleep(d time.Duration, done <-chan struct{}) {
	select {
	case <-done:
		return
	default:
	}
	if d <= 0 {
		w.t.Fatalf("at %v: sleeps for %v: a busy loop", w.now, d)
	}
	to := w.now + d + w.oversleep
	for len(w.plan) > 0 && w.plan[0].at <= to {
		w.now = max(w.now, w.plan[0].at)
		do := w.plan[0].do
		w.plan = w.plan[1:]
		do()
		select {
		case <-done:
			return
		default:
		}
	}
	w.now = to
}

func (w *world) Write(r *heartbeat.Record) error {
	if w.fail != nil {
		return w.fail
	}
	if _, err := heartbeat.AppendBlock(nil, r, 0); err != nil {
		w.t.Errorf("beat %d is no record: %v", r.Seq, err)
	}
	w.beats = append(w.beats, *r)
	return nil
}

func (w *world) Warn(msg string, _ ...any) { w.said = append(w.said, "warning: "+msg) }
func (w *world) Info(msg string, _ ...any) { w.said = append(w.said, "info: "+msg) }

func (w *world) at(sec float64, do func()) {
	w.plan = append(w.plan, event{time.Duration(sec * float64(time.Second)), do})
}

func (w *world) end() { close(w.done) }

// newWorld starts at 1000 s after boot, where at(0) of a plan is not.
func newWorld(t *testing.T) (*world, *Sender) {
	w := &world{t: t, now: 1000 * time.Second, done: make(chan struct{})}
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	return w, &Sender{
		Record: heartbeat.Record{ID: "svc", PID: 7, Boot: boot, IntervalMS: 1000, CRC: true},
		Name:   "svc.hb", Sink: w, Clock: w, Random: func() float64 { return 0.5 }, Log: w,
		Ready: func() error { w.said = append(w.said, "ready"); return nil },
	}
}

func (w *world) expectSaid(want ...string) {
	w.t.Helper()
	if !reflect.DeepEqual(w.said, want) {
		w.t.Errorf("said %q\nwant %q", w.said, want)
	}
}

func TestBeatsInTime(t *testing.T) {
	w, s := newWorld(t)
	s.Spread, s.Record.Seq = 0.2, 41
	w.at(1003, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range w.beats {
		got = append(got, fmt.Sprintf("%d@%d/%d %v", b.Seq, b.BTMS, b.TSMS-1763820000000, b.Status))
	}
	want := []string{"42@1000000/1000000 ok", "43@1001100/1001100 ok", "44@1002200/1002200 ok", "45@1003000/1003000 stopping"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("beats %v\nwant %v", got, want)
	}
	w.expectSaid("ready")
}

func TestCountEnds(t *testing.T) {
	w, s := newWorld(t)
	s.Count = 3
	if err := s.Run(w.done); err != nil || len(w.beats) != 3 || w.beats[2].Status != heartbeat.OK {
		t.Errorf("%d beats, %v", len(w.beats), err)
	}
}

// A sender that wakes late says so, and remembers its longest gap for a while.
func TestLateAndGap(t *testing.T) {
	w, s := newWorld(t)
	s.Count = 63
	w.at(1001.5, func() { w.oversleep = 4 * time.Second })
	w.at(1002.5, func() { w.oversleep = 0 })
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ late, gap int64 }{{0, 0}, {0, 1000}, {0, 1000}, {4000, 5000}, {0, 4942}} {
		if b := w.beats[i]; b.LateMS != want.late || b.GapMaxMS != want.gap {
			t.Errorf("beat %d: late %d, gap %d; want %+v", i, b.LateMS, b.GapMaxMS, want)
		}
	}
	if b := w.beats[62]; b.GapMaxMS < 2520 || b.GapMaxMS > 2560 { // one half-life of 60 beats after 5000
		t.Errorf("gap decayed to %d", b.GapMaxMS)
	}
}

func TestFullDiskIsSaidOnceAndOutlived(t *testing.T) {
	w, s := newWorld(t)
	w.fail = fmt.Errorf("svc.hb: write: %w", syscall.ENOSPC)
	w.at(1100, func() { w.fail = nil })
	w.at(1105, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	w.expectSaid("warning: svc.hb: write: no space left on device; trying on", "info: svc.hb: beats again", "ready")
	if b := w.beats[0]; b.Seq != 1 || b.BTMS > 1101000 {
		t.Errorf("first beat is %d at %d ms", b.Seq, b.BTMS)
	}
}

func TestRefusalEndsBeforeTheFirstBeat(t *testing.T) {
	for name, err := range map[string]error{"permission": syscall.EACCES, "missing": syscall.ENOENT, "symlink": rundir.ErrNotRegular} {
		w, s := newWorld(t)
		w.fail = fmt.Errorf("svc.hb: open: %w", err)
		if got := s.Run(w.done); !errors.Is(got, err) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRefusalLaterIsRetried(t *testing.T) {
	w, s := newWorld(t)
	w.at(1002.5, func() { w.fail = fmt.Errorf("dir: open directory: %w", syscall.ENOENT) })
	w.at(1060, func() { w.fail = nil })
	w.at(1062, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	w.expectSaid("ready", "warning: dir: open directory: no such file or directory; trying on", "info: svc.hb: beats again")
}

func TestOnceFailsAtOnce(t *testing.T) {
	w, s := newWorld(t)
	s.Count = 1
	w.fail = fmt.Errorf("svc.hb: write: %w", syscall.ENOSPC)
	if err := s.Run(w.done); !errors.Is(err, syscall.ENOSPC) || w.now != 1000*time.Second {
		t.Errorf("at %v: %v", w.now, err)
	}
}

func TestSecondSenderWaitsTwoIntervals(t *testing.T) {
	busy := fmt.Errorf("svc.hb: lock: %w", heartbeat.ErrBusy)
	w, s := newWorld(t)
	w.fail = busy
	err := s.Run(w.done)
	if !errors.Is(err, heartbeat.ErrBusy) || w.now < 1002*time.Second || w.now > 1004*time.Second {
		t.Errorf("at %v: %v", w.now, err)
	}

	w, s = newWorld(t)
	w.fail = busy
	w.at(1001.5, func() { w.fail = nil })
	w.at(1005, w.end)
	if err := s.Run(w.done); err != nil || len(w.beats) == 0 {
		t.Errorf("the first has left: %d beats, %v", len(w.beats), err)
	}
}

// child starts a process that waits for ever, and gives a way to signal it and
// see the effect.
func child(t *testing.T) (pid int, become func(sig syscall.Signal, state string)) {
	t.Helper()
	cmd := exec.Command("sleep", "1000000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := false
	t.Cleanup(func() {
		if !reaped {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd.Process.Pid, func(sig syscall.Signal, state string) {
		t.Helper()
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGKILL {
			_ = cmd.Wait()
			reaped = true
			return
		}
		for until := time.Now().Add(time.Minute); ; {
			st, err := procfs.ReadStat(cmd.Process.Pid)
			if err == nil && strings.IndexByte(state, st.State) >= 0 {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("pid %d is %c, want one of %s: %v", cmd.Process.Pid, st.State, state, err)
			}
		}
	}
}

func (w *world) statuses(from, to float64) (got []string) {
	for _, b := range w.beats {
		if at := float64(b.BTMS) / 1000; at >= from && at < to {
			got = append(got, b.Status.String())
		}
	}
	return got
}

func TestStoppedSubjectIsSilent(t *testing.T) {
	w, s := newWorld(t)
	pid, become := child(t)
	var err error
	if s.Subject, err = ByPID(pid); err != nil {
		t.Fatal(err)
	}
	w.at(1002.5, func() { become(syscall.SIGSTOP, "T") })
	w.at(1010.5, func() { become(syscall.SIGCONT, "S") })
	w.at(1012.5, func() { become(syscall.SIGKILL, "") })
	err = s.Run(w.done)
	if !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	if got := w.statuses(1003, 1010.6); len(got) != 0 {
		t.Errorf("beats while stopped: %v", got)
	}
	last := w.beats[len(w.beats)-1]
	if last.Status != heartbeat.Error || last.Msg != fmt.Sprintf("pid %d has ended", pid) || last.PID != pid {
		t.Errorf("last beat %+v", last)
	}
	if last.GapMaxMS > 1500 {
		t.Errorf("withheld beats count as a gap of the sender: %d ms", last.GapMaxMS)
	}
	who := fmt.Sprintf("info: pid %d: ", pid)
	w.expectSaid("ready", who+"stopped; beats are withheld", who+"runs again", who+"has ended")
}

func TestStoppedSubjectUnderAHoldIsHeld(t *testing.T) {
	w, s := newWorld(t)
	w.now = boottime.Now() // holds live on the real clock
	t0 := w.now.Seconds()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s.Hold, err = hold.NewReader(dir, "hbsend", time.Hour); err != nil {
		t.Fatal(err)
	}
	pid, become := child(t)
	if s.Subject, err = ByPID(pid); err != nil {
		t.Fatal(err)
	}
	var l hold.Lease
	w.at(t0+2.5, func() {
		if l, err = hold.Take(d, "svc", "me", "gdb", 30*time.Minute); err != nil {
			t.Error(err)
		}
		become(syscall.SIGSTOP, "T")
	})
	w.at(t0+6.5, func() {
		if missing := hold.Missing(d, "svc", l.Nonce, []string{"hbsend"}); missing != nil {
			t.Errorf("not acknowledged after four intervals")
		}
		if _, err := hold.Release(d, "svc", l.Nonce, false); err != nil {
			t.Error(err)
		}
	})
	w.at(t0+10.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.statuses(t0-1, t0+20), " "); got != "ok ok ok held held held held" {
		t.Errorf("beats: %s", got)
	}
	who := fmt.Sprintf("info: pid %d: stopped", pid)
	w.expectSaid("ready", who+", held by me: gdb", who+"; beats are withheld")
}

func TestPidfileIsFollowed(t *testing.T) {
	w, s := newWorld(t)
	pidfile := filepath.Join(t.TempDir(), "pid")
	s.Subject = ByPidfile(pidfile)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(pidfile+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(pidfile+".new", pidfile); err != nil {
			t.Fatal(err)
		}
	}
	first, killFirst := child(t)
	second, killSecond := child(t)
	w.at(1003.5, func() { write(fmt.Sprintf("%d\n", first)) })
	w.at(1006.5, func() { killFirst(syscall.SIGKILL, "") })
	w.at(1010.5, func() { write("rubbish") })
	w.at(1012.5, func() { write(fmt.Sprint(second)) })
	w.at(1015.5, func() { killSecond(syscall.SIGKILL, "") })
	w.at(1018.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to float64
		want     string
	}{{1000, 1004, ""}, {1004, 1007, "ok ok ok"}, {1007, 1013, "error"}, {1013, 1016, "ok ok ok"}, {1016, 1020, "error"}} {
		if got := strings.Join(w.statuses(tt.from, tt.to), " "); got != tt.want {
			t.Errorf("from %v to %v: %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
	if w.beats[0].PID != first || w.beats[len(w.beats)-1].PID != second {
		t.Errorf("pids %d and %d, want %d and %d", w.beats[0].PID, w.beats[len(w.beats)-1].PID, first, second)
	}
	all := strings.Join(w.said, "\n")
	for _, want := range []string{"pidfile: open: no such file", "want a process id, have \"rubbish\"", fmt.Sprintf("pid %d: followed by %s", second, pidfile)} {
		if strings.Count(all, want) != 1 {
			t.Errorf("%q is not said once in\n%s", want, all)
		}
	}
}

func TestByPIDRefusesTheDead(t *testing.T) {
	pid, become := child(t)
	become(syscall.SIGKILL, "")
	if _, err := ByPID(pid); err == nil || !strings.Contains(err.Error(), "no such process") {
		t.Errorf("dead process: %v", err)
	}
}
