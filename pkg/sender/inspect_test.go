package sender

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/condition"
	"vigil/pkg/flag"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// inspected makes a sender with these conditions, looked at without a goroutine:
// what the looks find does not depend on how fast they are.
func inspected(t *testing.T, args ...string) (*world, *Sender) {
	t.Helper()
	w, s := newWorld(t)
	var set condition.Set
	var fs flag.FlagSet
	set.Flags(&fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	s.Inspector = &Inspector{ID: "svc", Conditions: &set, start: func(look func()) { look() }}
	s.Inspector.clocks = func() condition.Clock { return condition.Clock{Boot: w.now, WallNS: w.Wall() * 1e6} }
	return w, s
}

func (w *world) log(from, to float64) (got []string) {
	for _, b := range w.beats {
		if at := float64(b.BTMS) / 1000; at >= from && at < to {
			text := b.Status.String()
			if b.Msg != "" {
				text += ": " + b.Msg
			}
			if len(got) == 0 || got[len(got)-1] != text {
				got = append(got, text)
			}
		}
	}
	return got
}

func TestFailedConditionDegrades(t *testing.T) {
	file := filepath.Join(t.TempDir(), "maintenance")
	w, s := inspected(t, "-absent", "m:"+file)
	s.Record.Msg = "all well"
	w.at(1002.5, func() { touch(t, file) })
	w.at(1005.5, func() { remove(t, file) })
	w.at(1007.5, func() { touch(t, file) })
	w.at(1008.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	want := []string{"ok: all well", "degraded: m: present", "ok: all well", "degraded: m: present", "stopping: all well"}
	if got := w.log(0, 2000); !reflect.DeepEqual(got, want) {
		t.Errorf("beats %q\nwant %q", got, want)
	}
	w.expectSaid("ready", "warning: fails: m: present", "info: conditions hold", "warning: fails: m: present")
}

func TestFailedConditionWithholds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready")
	w, s := inspected(t, "-exists", file)
	s.Withhold, s.Inspector.Grace = true, 3*time.Second
	w.at(1005.5, func() { touch(t, file) })
	w.at(1007.5, func() { remove(t, file) })
	w.at(1009.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to float64
		want     string
	}{{1000, 1003, "starting: ready: missing"}, {1003.1, 1005.5, ""}, {1005.6, 1007.5, "ok"}, {1007.6, 1100, ""}} {
		if got := strings.Join(w.log(tt.from, tt.to), " "); got != tt.want {
			t.Errorf("from %v: %q, want %q", tt.from, got, tt.want)
		}
	}
	w.expectSaid("info: waits for ready: missing", "ready", "warning: beats are withheld: ready: missing", "info: conditions hold",
		"warning: beats are withheld: ready: missing")
}

func TestAnErrorStaysAnError(t *testing.T) {
	w, s := inspected(t, "-exists", filepath.Join(t.TempDir(), "x"))
	s.Record.Status = heartbeat.Error
	w.at(1001.5, w.end)
	if err := s.Run(w.done); err != nil || w.beats[0].Status != heartbeat.Error || w.beats[0].Msg != "x: missing" {
		t.Errorf("%+v, %v", w.beats, err)
	}
}

// A look that hangs delays the first beat by a quarter of the interval, later ones
// not at all, and what it found before is not believed for ever.
func TestHangingLook(t *testing.T) {
	w, s := inspected(t, "-absent", filepath.Join(t.TempDir(), "x"))
	var hung func()
	hang := false
	s.Inspector.start = func(look func()) {
		if hang {
			hung = look
			return
		}
		look()
	}
	w.at(1002.5, func() { hang = true })
	w.at(1008.5, func() { hang = false; hung() })
	w.at(1011.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	var at []float64
	for _, b := range w.beats {
		at = append(at, float64(b.BTMS)/1000)
	}
	want := []float64{1000, 1001, 1002, 1003.25, 1004.25, 1005.25, 1006.25, 1007.25, 1008.25, 1009.25, 1010.25, 1011.25, 1011.5}
	if !reflect.DeepEqual(at, want) {
		t.Errorf("beats at %v\nwant %v", at, want)
	}
	if got := strings.Join(w.log(0, 2000), ", "); got != "ok, degraded: conditions not judged for 2.3s, "+
		"degraded: conditions not judged for 3.3s, degraded: conditions not judged for 4.3s, "+
		"degraded: conditions not judged for 5.3s, degraded: conditions not judged for 6.3s, ok, stopping" {
		t.Errorf("beats %s", got)
	}
}

func TestHoldExcusesConditions(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	// Readers believe held only where they see a hold on svc.
	for id, want := range map[string]string{"svc": "held", "x": "ok", hold.Host: "held"} {
		w, s := inspected(t, "-exists", filepath.Join(dir, "x"))
		w.now = boottime.Now()
		t0 := w.now.Seconds()
		if s.Inspector.Holds, err = hold.NewReader(dir, "", time.Hour); err != nil {
			t.Fatal(err)
		}
		l, err := hold.Take(d, id, "me", "gdb", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.at(t0+2.5, func() {
			if _, err := hold.Release(d, id, l.Nonce, false); err != nil {
				t.Error(err)
			}
		})
		w.at(t0+4.5, w.end)
		if err := s.Run(w.done); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(w.log(0, 1e9), ", "); got != want+", degraded: x: missing, stopping" {
			t.Errorf("hold on %s: beats %s, want %s first", id, got, want)
		}
	}
}

func TestNumbersAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "numbers")
	w, s := inspected(t)
	s.Inspector.Numbers = file
	s.Record.Metrics = []heartbeat.Metric{{Name: "fixed", Value: 1}}
	put := func(text string) func() {
		return func() {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	put("a=1")()
	w.at(1001.5, put(`{"a":2,"b":3}`))
	w.at(1002.5, put("rubbish"))
	w.at(1004.5, func() { remove(t, file) })
	w.at(1006.5, put("fixed=2"))
	w.at(1007.5, put("a=4"))
	w.at(1008.5, w.end)
	if err := s.Run(w.done); err != nil {
		t.Fatal(err)
	}
	one := heartbeat.Metric{Name: "fixed", Value: 1}
	for i, want := range [][]heartbeat.Metric{{one, {Name: "a", Value: 1}}, {one, {Name: "a", Value: 1}}, {one, {Name: "a", Value: 2}, {Name: "b", Value: 3}}, {one}, {one}, {one}, {one}, {one}, {one, {Name: "a", Value: 4}}} {
		if got := w.beats[i].Metrics; !reflect.DeepEqual(got, want) {
			t.Errorf("beat %d: %v, want %v", i, got, want)
		}
	}
	w.expectSaid("ready",
		"warning: "+file+": numbers: line 1: \"rubbish=\": want a number behind the =; beats go without its numbers",
		"warning: "+file+": open numbers: no such file or directory; beats go without its numbers",
		"warning: "+file+": metric fixed: given twice; beats go without its numbers",
		"info: "+file+": read again")
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Error(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Error(err)
	}
}
