package sender

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

const farBoot = "3f1c9a5200000000000000000000abcd"

// relayed makes a relay whose lines come from the test, and not from a file.
func relayed(t *testing.T, verify func([]byte) error) (w *world, s *Sender, feed func(string), run func() error) {
	t.Helper()
	w, s = newWorld(t)
	r, err := NewRelay("", verify, w)
	if err != nil {
		t.Fatal(err)
	}
	s.Relay = r
	feed = func(text string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.framer.feed([]byte(text), r.line)
	}
	return w, s, feed, func() error {
		s.setInterval(s.Record.IntervalMS)
		r.begin(s)
		w.plan = append(w.plan, event{w.plan[len(w.plan)-1].at, r.stop})
		return s.forward(w.done)
	}
}

// far is a beat of another machine, a line of 512 bytes.
func far(seq int, change func(*heartbeat.Record)) string {
	r := heartbeat.Record{
		ID: "far.svc", PID: 99, Boot: farBoot, StartMS: 5, Seq: uint64(seq), TSMS: 7, BTMS: int64(seq) * 1000,
		IntervalMS: 2000, TTLMS: 9000, LateMS: 3, GapMaxMS: 2500, Msg: "from far", CRC: true,
		Metrics: []heartbeat.Metric{{Name: "q", Value: float64(seq)}},
	}
	if change != nil {
		change(&r)
	}
	b, err := heartbeat.AppendBlock(nil, &r, 0)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestRelayRestamps(t *testing.T) {
	w, s, feed, run := relayed(t, nil)
	s.Record.Seq = 41
	w.at(1000.5, func() { feed(far(7, nil)) })
	w.at(1002.5, func() { feed(far(8, func(r *heartbeat.Record) { r.Status = heartbeat.Degraded })) })
	w.at(1004.5, func() { feed(`{"seq":9,"status":"OK","lat":5}` + "\n") })
	w.at(1006, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	own := heartbeat.Record{ID: "svc", Boot: s.Record.Boot, CRC: true, IntervalMS: 2000, TTLMS: 9000, LateMS: 3, Msg: "from far"}
	var want [3]heartbeat.Record
	for i := range want {
		want[i] = own
		want[i].Seq, want[i].Via = uint64(42+i), &heartbeat.Via{ID: "far.svc", Seq: uint64(7 + i)}
		want[i].BTMS, want[i].Metrics = 1000500+2000*int64(i), []heartbeat.Metric{{Name: "q", Value: float64(7 + i)}}
		want[i].TSMS = 1763820000000 + want[i].BTMS
	}
	want[0].Via.StartMS, want[1].Via.StartMS = 5, 5
	want[1].Status, want[1].GapMaxMS, want[2].GapMaxMS = heartbeat.Degraded, 2000, 2000
	// A foreign beat says less, and is of the id that was seen before.
	want[2].IntervalMS, want[2].TTLMS, want[2].LateMS, want[2].Msg = 1000, 0, 0, ""
	want[2].Metrics[0].Name, want[2].Metrics[0].Value = "lat", 5
	for i, b := range w.beats {
		if i > 2 || !reflect.DeepEqual(b, want[i]) {
			t.Errorf("beat %d: %+v via %+v\nwant %+v", i, b, b.Via, want[min(i, 2)])
		}
	}
	if len(w.beats) != 3 { // and no stopping: it is not the sender that stops
		t.Errorf("%d beats", len(w.beats))
	}
	w.expectSaid("ready")
}

func TestRelayFallsSilent(t *testing.T) {
	w, s, feed, run := relayed(t, nil)
	for i, at := range []float64{1000.5, 1002.5, 1020.5} {
		w.at(at, func() { feed(far(i+1, nil)) })
	}
	w.at(1022, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if len(w.beats) != 3 {
		t.Errorf("%d beats", len(w.beats))
	}
	if w.beats[2].GapMaxMS > 2500 {
		t.Errorf("the other sender's silence counts as our gap: %d ms", w.beats[2].GapMaxMS)
	}
	w.expectSaid("ready", "info: stdin: no beats; falls silent", "info: stdin: beats again")
	_ = s
}

func TestRelayStandsInUnderAHold(t *testing.T) {
	w, s, feed, run := relayed(t, nil)
	w.now = boottime.Now()
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
	var l hold.Lease
	w.at(t0+0.5, func() { feed(far(1, nil)) })
	w.at(t0+2.5, func() { feed(far(2, nil)) })
	w.at(t0+3, func() {
		if l, err = hold.Take(d, "svc", "me", "gdb", 30*time.Minute); err != nil {
			t.Error(err)
		}
	})
	w.at(t0+12, func() {
		if missing := hold.Missing(d, "svc", l.Nonce, []string{"hbsend"}); missing != nil {
			t.Error("not acknowledged")
		}
		if _, err := hold.Release(d, "svc", l.Nonce, false); err != nil {
			t.Error(err)
		}
	})
	w.at(t0+20, func() { feed(far(3, func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })) })
	w.at(t0+21, func() {
		if _, err = hold.Take(d, "svc", "me", "late", 30*time.Minute); err != nil {
			t.Error(err)
		}
	})
	w.at(t0+40, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range w.beats {
		got = append(got, fmt.Sprintf("%v/%d", b.Status, b.Via.Seq))
		if b.IntervalMS != 2000 || b.PID != 0 || b.Status == heartbeat.Held && (b.Msg != "" || b.Metrics != nil) {
			t.Errorf("beat %+v", b)
		}
	}
	// An orderly end needs no excuse, and nobody stands in for it.
	if want := "ok/1 ok/2 held/2 held/2 held/2 stopping/3"; strings.Join(got, " ") != want {
		t.Errorf("beats %s, want %s", strings.Join(got, " "), want)
	}
	w.expectSaid("ready", "info: stdin: no beats; stands in, held by me: gdb", "info: stdin: no beats; falls silent",
		"info: stdin: beats again", "info: stdin: no beats; falls silent")
}

func TestRelayEndsWithItsInput(t *testing.T) {
	for last, want := range map[heartbeat.Status]error{heartbeat.OK: ErrGone, heartbeat.Stopping: nil} {
		w, s, feed, run := relayed(t, nil)
		w.at(1000.5, func() { feed(far(1, func(r *heartbeat.Record) { r.Status = last })) })
		w.at(1001.5, func() {
			s.Relay.mu.Lock()
			s.Relay.ended = true
			s.Relay.wake()
			s.Relay.mu.Unlock()
		})
		w.at(1060, w.end)
		if err := run(); !errors.Is(err, want) || w.now > 1010*time.Second || len(w.beats) != 1 {
			t.Errorf("%v: %v at %v, %d beats", last, err, w.now, len(w.beats))
		}
	}
}

func TestRelayDropsBadLines(t *testing.T) {
	w, s, feed, run := relayed(t, nil)
	s.Record.Boot = farBoot // the same machine: bt_ms counts
	now := int64(1000000)
	good := func(seq int, bt int64) string {
		return far(seq, func(r *heartbeat.Record) { r.BTMS = bt })
	}
	w.at(1000.5, func() {
		feed("rubbish\n\n" + good(7, now) + good(6, now) + good(7, now))
		feed(strings.Repeat("x", 9000))
		feed("\n" + good(8, now-60000) + good(8, now+60000) + `{"id":"else"}` + "\n" + "more rubbish\n")
		feed(strings.Replace(good(8, now), `"seq":8`, `"seq":9`, 1))
		feed(far(8, func(r *heartbeat.Record) { r.BTMS, r.Msg = now, strings.Repeat("m", 3650) }))
		feed(`{"id":"far.svc","seq":`) // half of a line
	})
	w.at(1001.5, func() { feed("5}\n") })
	w.at(1003, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range w.beats {
		got = append(got, fmt.Sprint(b.Via.Seq))
	}
	if strings.Join(got, " ") != "7 5" {
		t.Errorf("forwarded %v", got)
	}
	all := strings.Join(w.said, "\n")
	for _, want := range []string{"malformed: offset 0", "replayed: seq 6, after 7", "oversize: over 4096 bytes", "future: bt_ms lies",
		"wrong_id: record says \"else\"", "torn: crc"} {
		if strings.Count(all, "warning: stdin: line dropped: "+want) != 1 {
			t.Errorf("%q is not said once in\n%s", want, all)
		}
	}
	r := s.Relay
	for reason, want := range map[heartbeat.Reason]int{
		heartbeat.Malformed: 2, heartbeat.Replayed: 3, heartbeat.Oversize: 2, heartbeat.Future: 1, heartbeat.WrongID: 1, heartbeat.Torn: 1, heartbeat.Empty: 0,
	} {
		if r.dropped[reason] != want {
			t.Errorf("%v: %d dropped, want %d", reason, r.dropped[reason], want)
		}
	}
	w.said = nil
	r.report()
	if len(w.said) != 6 {
		t.Errorf("reported %q", w.said)
	}
}

// With a key, a relay makes no signed beat of what just anybody sends.
func TestRelayWantsSignatures(t *testing.T) {
	key, err := heartbeat.NewKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	w, _, feed, run := relayed(t, key.Verify)
	w.at(1000.5, func() {
		feed(far(1, nil) + `{"id":"far.svc"}` + "\n")
		feed(far(2, func(r *heartbeat.Record) { r.Sig = strings.Repeat("0", 64) }))
	})
	w.at(1001.5, func() {
		e := heartbeat.Encoder{Key: key}
		r := heartbeat.Record{ID: "far.svc", Boot: farBoot, Seq: 3, IntervalMS: 1000}
		line, err := e.AppendLine(nil, &r)
		if err != nil {
			t.Error(err)
		}
		feed(string(line))
	})
	w.at(1002, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if len(w.beats) != 1 || w.beats[0].Via.Seq != 3 || w.beats[0].Sig != "" {
		t.Errorf("forwarded %+v", w.beats)
	}
	w.expectSaid("warning: stdin: line dropped: unsigned; more of the kind are only counted",
		"warning: stdin: line dropped: bad_signature; more of the kind are only counted", "ready")
}

// A flood is merged: the last beat of a burst counts.
func TestRelayMergesAFlood(t *testing.T) {
	w, _, feed, run := relayed(t, nil)
	seq := 0
	for i := range 200 {
		w.at(1000.5+float64(i)/100, func() {
			seq++
			feed(far(seq, nil))
		})
	}
	w.at(1003, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.beats); n < 8 || n > 20 || w.beats[n-1].Via.Seq != 200 {
		t.Errorf("%d beats, the last via %d", n, w.beats[n-1].Via.Seq)
	}
}

func TestNewRelayRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	verify := func([]byte) error { return nil }
	expect := func(verify func([]byte) error, want string) {
		t.Helper()
		r, err := NewRelay(path, verify, nil)
		if want == "" && err == nil {
			r.file.Close()
			return
		}
		if err == nil || want == "" || !strings.HasPrefix(err.Error(), path+": open FIFO: "+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	expect(nil, "no such file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(nil, "not a FIFO")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(nil, "")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	expect(nil, "mode 0666 lets everybody forge beats")
	expect(verify, "")
}

// A real FIFO: writers come and go, and it is removed and made again.
func TestRelayHeals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	mkfifo := func() {
		t.Helper()
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mkfifo()
	w, s := newWorld(t)
	r, err := NewRelay(path, nil, w)
	if err != nil {
		t.Fatal(err)
	}
	s.Relay = r
	r.begin(s)
	go r.read(r.file)
	defer func() {
		r.stop()
		r.mu.Lock()
		r.file.Close()
		r.mu.Unlock()
	}()
	send := func(seq uint64) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(far(int(seq), nil)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if rec, _, _ := r.take(); rec != nil {
				if rec.Via.Seq != seq {
					t.Errorf("got seq %d, want %d", rec.Via.Seq, seq)
				}
				return
			}
			if time.Now().After(until) {
				t.Fatalf("seq %d does not come", seq)
			}
		}
	}
	send(1)
	send(2)
	r.heal() // nothing to heal
	send(3)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.heal() // nothing there
	mkfifo()
	r.heal()
	send(4)
	w.expectSaid("info: " + path + ": opened again")
}

// FuzzFramer: however the bytes come in pieces, the lines are the same.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint8(1))
	f.Add([]byte(strings.Repeat("x", 5000)+"\ny\n"), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		var whole, pieces []string
		var one, two framer
		one.feed(text, func(line []byte) { whole = append(whole, string(line)) })
		for rest := text; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			two.feed(rest[:n], func(line []byte) { pieces = append(pieces, string(line)) })
			rest = rest[n:]
			if cap(two.part) > 4*heartbeat.MaxSize {
				t.Fatalf("keeps %d bytes", cap(two.part))
			}
		}
		if !reflect.DeepEqual(whole, pieces) {
			t.Errorf("%d lines at once, %d in pieces of %d", len(whole), len(pieces), int(step)+1)
		}
	})
}
