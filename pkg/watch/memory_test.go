package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/jsonline"
)

// restart puts a new watcher into the world of s, which knows what the old one
// has saved, and does so after a pause.
func (s *sim) restart(pause time.Duration) {
	s.t.Helper()
	path := s.t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		s.t.Fatal(err)
	}
	open := func() *memory {
		m, err := openMemory(filepath.Join(path, "state"), thisBoot, s)
		if err != nil {
			s.t.Fatal(err)
		}
		return m
	}
	m := open()
	m.save(s.core.entries, s.last)
	m.Close()
	s.move(pause)
	s.memory = open()
	s.t.Cleanup(s.memory.Close)
	s.start()
	s.discover()
	s.tick(true)
}

// TestRestart: nothing is told twice, and every clock goes on.
func TestRestart(t *testing.T) {
	s := begin(t, func(o *Options) { o.Expect = []string{"never"} }, func(s *sim) {
		s.beat("dead", nil)
		s.beat("failed", func(r *heartbeat.Record) { r.Status = heartbeat.Error; r.TTLMS = 3600_000 })
		s.beat("stopped", func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })
		s.foreignBeat("foreign")
		s.write(heartbeat.Record{ID: "before", Boot: lastBoot, Seq: 3, BTMS: 5})
		s.spoil("spoilt", heartbeat.Oversize)
	})
	s.discover()
	s.leases["failed"] = s.lease("failed", 20*time.Second)
	s.run(time.Second)
	s.foreignBeat("foreign")
	s.run(13 * time.Second)
	if len(s.events) == 0 || s.state("dead") != Dead || s.state("foreign") != Alive || s.state("failed") != Held {
		t.Fatal(s.log())
	}
	s.log()
	s.known = map[string]hold.Lease{}
	s.restart(500 * time.Millisecond)
	s.expect("hold failed gdb")
	s.run(2 * time.Second)
	s.expect("foreign alive>suspect timeout") // at 16 s: its age is that of before
	s.restart(10 * time.Second)
	s.expect("hold_end failed gdb", "failed held>failed hold_end", "foreign suspect>dead timeout")
	s.run(24 * time.Second)
	s.expect("never unknown>dead never_seen")
	s.restart(time.Minute)
	s.expect()
	s.foreignBeat("foreign")
	s.write(heartbeat.Record{ID: "before", Boot: lastBoot, Seq: 4, BTMS: 1005})
	s.beat("dead", nil)
	s.restart(time.Millisecond)
	s.expect("dead dead>alive beat", "foreign dead>alive beat", "before unknown>alive beat")
	s.write(heartbeat.Record{ID: "dead", PID: 42, Boot: thisBoot, Seq: 3, BTMS: 2000})
	s.restart(time.Millisecond)
	s.expect("rejected dead replayed")
	delete(s.files, "foreign")
	s.restart(time.Minute)
	if got := strings.Join(s.log(), " "); !strings.Contains(got, "foreign alive>dead missing") {
		t.Error(got)
	}
	if len(s.warned) > 0 {
		t.Error(s.warned)
	}
}

// TestMemoryRoundTrip: what is written is read, whatever it is.
func TestMemoryRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		e := entry{
			id: "a", state: State(rnd.IntN(len(States))), origin: origin(rnd.IntN(len(origins))),
			status: heartbeat.Status(rnd.IntN(6)), reject: uint8(rnd.IntN(int(heartbeat.Future) + 2)), pid: int32(rnd.IntN(1 << 22)),
		}
		for _, s := range e.times() {
			*s.at = ms(rnd.Int64N(1e6))
		}
		for _, s := range e.spans() {
			*s.at = ms(rnd.Int64N(1e11))
		}
		for _, n := range e.numbers() {
			*n.n = rnd.Uint64()
		}
		for _, f := range e.flags() {
			*f.is = rnd.IntN(2) == 0
		}
		e.held = e.state == Held
		var w jsonline.Writer
		e.append(&w)
		if got, err := parseEntry(w.Bytes(), ms(1e6)); err != nil || got != e {
			t.Fatalf("%s\nhave %+v, %v\nwant %+v", w.Bytes(), got, err, e)
		}
	}
}

// TestMemoryFaults: what is wrong with a memory is told with its line, and
// nothing of it counts.
func TestMemoryFaults(t *testing.T) {
	head := fmt.Sprintf(`{"v":1,"boot":"%s","at_ms":1000}`+"\n", thisBoot)
	for text, want := range map[string]string{
		"":                                       "no line feed",
		"x\n":                                    "line 1: offset 0",
		`{"v":2}` + "\n":                         "line 1: version 2: want 1",
		`{"v":1,"at_ms":-1}` + "\n":              "line 1: at_ms: out of range",
		strings.Replace(head, "1000", "9000", 1): "line 1: at_ms is of the future",
		head + `{"id":"a"}`:                      "line 2: no line feed",
		head + `{"id":"../a"}` + "\n":            "line 2: no id",
		head + `{"id":"a"}` + "\n" + `{"id":"a"}` + "\n":          `line 3: id "a" again`,
		head + `{"id":"a","state":"odd"}` + "\n":                  "line 2: state: unknown word",
		head + `{"id":"a","since_ms":2000}` + "\n":                "line 2: since_ms: out of range",
		head + `{"id":"a","seq":-1}` + "\n":                       "line 2: seq: ",
		head + `{"id":"a","interval_ms":9000000000000000}` + "\n": "line 2: interval_ms: out of range",
	} {
		entries, _, err := parseMemory([]byte(text), thisBoot, 2*time.Second)
		if err == nil || !strings.Contains(err.Error(), want) || len(entries) > 0 {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	text := head + `{"id":"a","later":"word","state":"dead"}` + "\n"
	if entries, at, err := parseMemory([]byte(text), thisBoot, 2*time.Second); err != nil || at != time.Second || len(entries) != 1 || entries[0].state != Dead {
		t.Error(entries, at, err)
	}
	if entries, _, err := parseMemory([]byte(text), lastBoot, 2*time.Second); err != nil || len(entries) > 0 {
		t.Error("of another boot:", entries, err)
	}
}

func FuzzMemory(f *testing.F) {
	head := fmt.Sprintf(`{"v":1,"boot":"%s","at_ms":1000}`+"\n", thisBoot)
	f.Add([]byte(head + `{"id":"a","state":"dead","origin":"here","status":"ok","beaten":true,"since_ms":1,"seq":2}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, at, err := parseMemory(b, thisBoot, time.Hour)
		if err != nil {
			return
		}
		for i := range entries {
			e := entries[i]
			var w jsonline.Writer
			e.append(&w)
			again, err := parseEntry(bytes.Clone(w.Bytes()), at)
			if err != nil || again != *e {
				t.Fatalf("%+v\n%+v, %v", *e, again, err)
			}
		}
	})
}
