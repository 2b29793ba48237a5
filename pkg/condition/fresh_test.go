package condition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
)

const (
	thisBoot  = "0123456789abcdef0123456789abcdef"
	otherBoot = "fedcba9876543210fedcba9876543210"
)

// long: one table of what is seen over time, beside the three lines that judge it.
func TestBeat(t *testing.T) {
	ok := func(bt int64) heartbeat.Record {
		return heartbeat.Record{Boot: thisBoot, BTMS: bt, Status: heartbeat.OK}
	}
	with := func(bt int64, s heartbeat.Status) heartbeat.Record {
		return heartbeat.Record{Boot: thisBoot, BTMS: bt, Status: s}
	}
	other := heartbeat.Record{Boot: otherBoot, BTMS: 99_000, Status: heartbeat.OK}
	otherHeld := heartbeat.Record{Boot: otherBoot, BTMS: 99_000, Status: heartbeat.Held}
	foreign := heartbeat.Record{Foreign: true, Status: heartbeat.OK}
	type look struct {
		at   int64 // boot clock, ms
		r    heartbeat.Record
		mark int64 // stands for the file's mtime
		want string
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"by bt_ms, not by the file", []look{
			{100_000, ok(99_000), 1, ""},
			{114_000, ok(99_000), 2, ""}, // touched, not beaten
			{114_001, ok(99_000), 3, "silent for 15s, want 15s"},
			{115_000, ok(114_500), 3, ""},
		}},
		{"stale at first sight", []look{{100_000, ok(10_000), 1, "silent for 1m30s, want 15s"}}},
		{"bad status", []look{
			{100_000, with(100_000, heartbeat.Degraded), 1, ""},
			{100_000, with(100_000, heartbeat.Starting), 1, ""},
			{100_000, with(100_000, heartbeat.Error), 1, "status error"},
			{100_000, with(100_000, heartbeat.Stopping), 1, "status stopping"},
		}},
		{"held, without a hold", []look{
			{100_000, with(100_000, heartbeat.Held), 1, "status held, but no hold is seen: no change seen yet"},
			{101_000, ok(101_000), 2, ""},
			{102_000, with(102_000, heartbeat.Held), 3, ""},
			{116_000, with(116_000, heartbeat.Held), 4, ""},
			{116_001, with(116_000, heartbeat.Held), 4, "status held, but no hold is seen: silent for 15s, want 15s"},
			{116_002, ok(115_999), 5, "rejected: replayed"}, // though it said held
			{117_000, ok(117_000), 6, ""},
		}},
		{"of another boot, held without a hold", []look{
			{100_000, other, 1, "no change seen yet"},
			{101_000, other, 2, ""},
			{102_000, otherHeld, 3, ""},
			{116_001, otherHeld, 4, "status held, but no hold is seen: silent for 15s, want 15s"},
			{117_000, other, 5, ""},
		}},
		{"starting, for a grace of 20 s", []look{
			{100_000, with(100_000, heartbeat.Starting), 1, ""},
			{119_999, with(119_000, heartbeat.Starting), 1, ""},
			{120_000, with(119_000, heartbeat.Starting), 1, "status starting for 20s"},
			{121_000, ok(121_000), 1, ""},
			{122_000, with(122_000, heartbeat.Starting), 1, ""},
		}},
		{"from the future", []look{
			{100_000, ok(101_001), 1, "rejected: future"},
			{100_000, ok(101_000), 1, ""}, // clocks read apart
		}},
		{"replayed", []look{
			{100_000, ok(99_000), 1, ""},
			{101_000, ok(98_000), 2, "rejected: replayed"},
			{102_000, ok(101_500), 3, ""},
		}},
		{"another boot, only by change", []look{
			{100_000, other, 1_000_000, "no change seen yet"}, // however recent the file looks
			{101_000, other, 1_000_001, ""},
			{116_001, other, 1_000_001, "silent for 15s, want 15s"},
		}},
		{"foreign, at first sight by the file", []look{
			{100_000, foreign, 1_000_000_090_000, ""}, // 10 s ago
			{105_001, foreign, 1_000_000_090_000, "silent for 15s, want 15s"},
			{106_000, foreign, 1_000_000_106_000, ""},
		}},
		{"foreign, from the future", []look{
			{100_000, foreign, 2_000_000_000_000, "no change seen yet"},
			{101_000, foreign, 2_000_000_001_000, ""},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := beat{boot: thisBoot}
			for _, l := range tt.looks {
				c := Clock{Boot: time.Duration(l.at) * time.Millisecond, WallNS: (1_000_000_000_000 + l.at) * 1e6}
				got := b.judge(l.r, mark{mtimeNS: l.mark * 1e6}, c, 15*time.Second, 20*time.Second)
				if got != l.want {
					t.Errorf("at %d ms: %q, want %q", l.at, got, l.want)
				}
			}
		})
	}
}

// TestClockAfresh: the full time runs from the end of a hold.
func TestClockAfresh(t *testing.T) {
	b := beat{boot: thisBoot}
	r := heartbeat.Record{Boot: thisBoot, BTMS: 100_000}
	at := func(ms int64) string {
		return b.judge(r, mark{}, Clock{Boot: time.Duration(ms) * time.Millisecond}, 15*time.Second, 0)
	}
	if got := at(101_000); got != "" {
		t.Fatal(got)
	}
	b.renew(500 * time.Second)
	if got := at(515_000); got != "" {
		t.Errorf("15 s after the hold: %q", got)
	}
	if got := at(515_001); !strings.HasPrefix(got, "silent for 6m55s") {
		t.Errorf("later: %q, want how long it was really silent", got)
	}
	var never beat
	never.renew(500 * time.Second)
	if got := never.watch.stale(500*time.Second, time.Hour); got != "no change seen yet" {
		t.Errorf("a hold stands in for a first sign: %q", got)
	}
}

// TestHoldEnds: the sender learns a moment later than this side that a hold has
// ended, or has begun. Neither is a reason to fail; but once the hold is over, its
// excuse is as long as the full time, and not longer.
func TestHoldEnds(t *testing.T) {
	c := &sim{Clock{Boot: time.Hour}}
	p := &recorded{beat: beat{boot: thisBoot}, within: 15 * time.Second}
	s := &Set{entries: []*entry{{id: "svc", probe: p}}}
	held := holder{}
	beat := func(status heartbeat.Status) {
		p.r = heartbeat.Record{Boot: thisBoot, BTMS: c.Boot.Milliseconds(), Status: status}
	}
	expect := func(what string, want State) {
		t.Helper()
		if v := s.Judge(c.read, held, 0)[0]; v.State != want {
			t.Fatalf("%s: have %+v, want state %d", what, v, want)
		}
	}
	beat(heartbeat.OK)
	expect("at first", Holds)
	c.sleep(time.Second)
	beat(heartbeat.Held)
	expect("the sender has seen the hold first", Holds)
	held["svc"] = c.Boot + time.Hour
	for range 60 {
		c.sleep(time.Second)
		beat(heartbeat.Held)
		expect("under the hold", Held)
	}
	delete(held, "svc")
	expect("at its end", Holds)
	c.sleep(500 * time.Millisecond)
	expect("before the next beat", Holds)
	beat(heartbeat.OK)
	expect("beats again", Holds)

	held["svc"] = c.Boot + time.Hour
	c.sleep(time.Minute)
	beat(heartbeat.Held)
	expect("under another hold", Held)
	delete(held, "svc")
	for range 16 { // from 0 to 15 s after the end
		expect("held on", Holds)
		c.sleep(time.Second)
		beat(heartbeat.Held)
	}
	expect("for longer than the full time", Fails)
}

// recorded is beatProbe without a file.
type recorded struct {
	beat
	r      heartbeat.Record
	within time.Duration
}

func (p *recorded) check() error { return nil }

func (p *recorded) look(clock func() Clock, grace time.Duration) string {
	return p.judge(p.r, mark{mtimeNS: p.r.BTMS}, clock(), p.within, grace)
}

func TestFileLook(t *testing.T) {
	name := filepath.Join(t.TempDir(), "app.log")
	p := &fileProbe{path: name, within: 15 * time.Second}
	c := &sim{Clock{Boot: time.Hour, WallNS: 1_000_000 * 1e9}}
	look := func(want string) {
		t.Helper()
		if got := p.look(c.read, 0); got != want {
			t.Errorf("at %s: %q, want %q", c.Boot, got, want)
		}
	}
	touch := func(seconds int64) {
		t.Helper()
		if err := os.Chtimes(name, time.Time{}, time.Unix(seconds, 0)); err != nil {
			t.Fatal(err)
		}
	}
	look(missing)
	if err := os.WriteFile(name, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(5) // of 1970: but it appeared just now
	look("")
	c.sleep(15 * time.Second)
	look("")
	c.sleep(time.Millisecond)
	look("silent for 15s, want 15s")
	touch(4) // a clock that went back is a change like any other
	look("")
	c.sleep(10 * time.Second)
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	look("") // rotated: for a while it has merely not changed
	c.sleep(6 * time.Second)
	look(missing + ", silent for 16s, want 15s")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look("")
	if err := os.Chmod(name, 0o602); err != nil {
		t.Fatal(err)
	}
	look(worldWritable)
	if err := p.check(); err == nil || !strings.Contains(err.Error(), "mode 0602") {
		t.Errorf("check: %v", err)
	}
}

func TestFileFirstSight(t *testing.T) {
	name := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, time.Time{}, time.Unix(1_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		wall int64
		want string
	}{
		{1_000_015, ""}, {1_000_016, "silent for 16s, want 15s"}, {999_999, "no change seen yet"},
	} {
		p := &fileProbe{path: name, within: 15 * time.Second}
		if got := p.look((&sim{Clock{Boot: time.Second, WallNS: tt.wall * 1e9}}).read, 0); got != tt.want {
			t.Errorf("wall clock %d: %q, want %q", tt.wall, got, tt.want)
		}
	}
}

// beatFile is a heartbeat file and the probe that looks at it.
type beatFile struct {
	t         *testing.T
	dir, name string
	text      []byte // of a beat of just now
	p         *beatProbe
}

func newBeatFile(t *testing.T) *beatFile {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	r := heartbeat.Record{ID: "svc", Boot: boot, BTMS: boottime.Now().Milliseconds(), IntervalMS: 1000}
	text, err := heartbeat.AppendBlock(nil, &r, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "svc.hb")
	return &beatFile{t, dir, name, text, &beatProbe{path: name, within: time.Hour}}
}

func (f *beatFile) look(want string) {
	f.t.Helper()
	clock := func() Clock { return Clock{Boot: boottime.Now()} }
	if got := f.p.look(clock, 0); !strings.HasPrefix(got, want) || want == "" && got != "" {
		f.t.Errorf("%q, want %q", got, want)
	}
}

func (f *beatFile) write(b []byte, mode os.FileMode) {
	f.t.Helper()
	if err := os.WriteFile(f.name, b, mode); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chmod(f.name, mode); err != nil {
		f.t.Fatal(err)
	}
}

func TestBeatLook(t *testing.T) {
	f := newBeatFile(t)
	f.look(missing)
	f.write(f.text, 0o644)
	f.look("")
	f.write([]byte("rubbish\n"), 0o644)
	f.look("rejected: malformed")
	f.write(nil, 0o644)
	f.look("rejected: empty")
	f.write(f.text, 0o646)
	f.look("rejected: writable")
	if err := f.p.check(); err == nil || !strings.Contains(err.Error(), f.name) {
		t.Errorf("check: %v", err)
	}
	f.write(f.text, 0o644)
	f.look("")
	if err := f.p.check(); err != nil {
		t.Errorf("check: %v", err)
	}
}

// TestBeatDirectory: it goes and comes back, as when a service tidies up.
func TestBeatDirectory(t *testing.T) {
	f := newBeatFile(t)
	f.write(f.text, 0o644)
	f.look("")
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.look("") // the last beat is recent enough
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f.write(f.text, 0o644)
	f.look("")
	if err := os.Chmod(f.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := (&beatProbe{path: f.name, within: time.Hour}).check(); err == nil || !strings.Contains(err.Error(), f.dir) {
		t.Errorf("check of a directory writable for all: %v", err)
	}
}
