package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

func forgetting(o *Options) { o.Forget = time.Hour }

func TestForget(t *testing.T) {
	s := begin(t, func(o *Options) { forgetting(o); o.Expect = []string{"expected"} }, func(s *sim) {
		for _, id := range []string{"expected", "lies", "missing", "refused"} {
			s.beat(id, nil)
		}
		s.beat("stopped", func(r *heartbeat.Record) { r.Status = heartbeat.Stopping })
	})
	s.run(10 * time.Second)
	delete(s.files, "missing")
	s.spoil("refused", heartbeat.Oversize)
	s.log()
	s.run(59 * time.Minute)
	s.expect("rejected refused oversize")
	s.run(2 * time.Minute)
	s.expect("gone stopped unchanged", "gone lies unchanged", "gone missing missing")
	for id, want := range map[string]bool{"expected": true, "refused": true, "lies": false, "missing": false, "stopped": false} {
		if _, ok := s.core.key(id); ok != want {
			t.Errorf("%s: kept %v", id, ok)
		}
	}
	s.run(24 * time.Hour)
	s.expect()
	delete(s.files, "stopped")
	s.beat("lies", nil) // a new id
	s.run(time.Second)
	s.expect("lies unknown>alive beat")
}

// TestForgetLater: recovery and holds start the time afresh.
func TestForgetLater(t *testing.T) {
	s := begin(t, forgetting, func(s *sim) { s.beat("a", nil) })
	s.run(50 * time.Minute)
	s.beat("a", nil)
	s.run(50 * time.Minute)
	s.leases["a"] = s.lease("a", 2*time.Hour)
	s.log()
	s.run(110 * time.Minute)
	s.expect("hold a gdb", "a dead>held hold")
	s.run(69 * time.Minute)
	s.expect("hold_end a gdb", "a held>alive hold_end", "a alive>suspect timeout", "a suspect>dead timeout")
	s.run(5 * time.Minute)
	s.expect("gone a unchanged")
}

// TestBuried: a forgotten file is a new one only when somebody touches it.
func TestBuried(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	file := filepath.Join(path, "a.hb")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := dir.Stat("a.hb")
	if err != nil {
		t.Fatal(err)
	}
	w := &Watcher{sources: []*source{{path: path, dir: dir}}}
	s := w.sources[0]
	w.bury(&entry{id: "a", mark: markOf(&info)})
	w.bury(&entry{id: "gone", missing: true})
	w.bury(&entry{id: "never", source: noSource})
	if got := s.unearth([]string{"a.hb", "b.hb"}); len(got) != 1 || got[0] != "b.hb" {
		t.Errorf("untouched: %q", got)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
	if got := s.unearth([]string{"a.hb", "b.hb"}); len(got) != 2 {
		t.Errorf("touched: %q", got)
	}
	if len(s.buried) != 0 {
		t.Errorf("still remembered: %v", s.buried)
	}
}
