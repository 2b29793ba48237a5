package condition

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/rundir"
)

// trusted makes a directory that is its owner's alone, whatever the umask.
func trusted(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMemory: over a restart a file is as old as it was seen to be, whatever its own
// times say.
func TestMemory(t *testing.T) {
	dir := trusted(t)
	log, state := dir+"/app.log", dir+"/state"
	write := func(text string, mtime time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(log, []byte(text), 0o644), os.Chtimes(log, mtime, mtime)); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *Set {
		t.Helper()
		s, err := parse(t, "-fresh=app:"+log+"=15s", "-state="+state)
		if err != nil {
			t.Fatal(err)
		}
		s.Warn = func(text string) { t.Error(text) }
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	c := &sim{Clock{Boot: time.Minute, WallNS: time.Now().UnixNano()}}
	judge := func(s *Set) string { return s.Judge(c.read, nil, 0)[0].Reason }

	future := time.Now().Add(time.Hour) // by a clock that was set back since
	write("one", future)
	s := open()
	if have := judge(s); have != "no change seen yet" {
		t.Errorf("at first sight: %q", have)
	}
	write("two", future.Add(time.Second))
	if have := judge(s); have != "" {
		t.Errorf("changed: %q", have)
	}
	if _, err := rundir.OpenKeep(state); !errors.Is(err, rundir.ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	s.Close()

	for _, later := range []struct {
		seconds int
		want    string
	}{{10, ""}, {6, "silent for 16s, want 15s"}} {
		c.sleep(time.Duration(later.seconds) * time.Second)
		s = open()
		if have := judge(s); have != later.want {
			t.Errorf("%d s later, started again: %q", later.seconds, have)
		}
		s.Close()
	}
	write("three", future) // while nobody looked
	s = open()
	if have := judge(s); have != "" {
		t.Errorf("changed in between: %q", have)
	}
	s.Close()
}

// TestMemoryDamaged: what cannot be read is told, and nothing is known.
func TestMemoryDamaged(t *testing.T) {
	dir := trusted(t)
	state := filepath.Join(dir, "state")
	if err := os.WriteFile(state, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := parse(t, "-fresh=app:"+dir+"=15s", "-state="+state)
	if err != nil {
		t.Fatal(err)
	}
	var warned []string
	s.Warn = func(text string) { warned = append(warned, text) }
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if len(warned) != 1 || warned[0] != state+": line 1: no line feed; nothing is remembered" {
		t.Errorf("warnings %q", warned)
	}
}

// TestMemorySaves: not at each look, and a fault is told once.
func TestMemorySaves(t *testing.T) {
	dir := trusted(t)
	state := filepath.Join(dir, "state")
	s, err := parse(t, "-fresh=app:"+dir+"=15s", "-state="+state)
	if err != nil {
		t.Fatal(err)
	}
	var warned []string
	s.Warn = func(text string) { warned = append(warned, text) }
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := &sim{Clock{Boot: time.Hour, WallNS: time.Now().UnixNano()}}
	size := func() (n int) {
		b, _ := os.ReadFile(state)
		return len(b)
	}
	s.Judge(c.read, nil, 0)
	first := size()
	if first == 0 {
		t.Fatal("nothing is saved")
	}
	if err := os.Remove(state); err != nil { // which changes the directory, too
		t.Fatal(err)
	}
	c.sleep(4 * time.Second)
	s.Judge(c.read, nil, 0)
	if size() != 0 {
		t.Error("saved again after 4 s")
	}
	c.sleep(time.Second)
	s.Judge(c.read, nil, 0)
	if size() == 0 {
		t.Error("not saved after 5 s")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.sleep(5 * time.Second)
		s.Judge(c.read, nil, 0)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], state+": write: ") {
		t.Errorf("warnings %q", warned)
	}
}

func TestMemoryOfNothing(t *testing.T) {
	s, err := parse(t, "-exists=/x", "-state=/x")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Check()
	if _, usage := errors.AsType[*cli.UsageError](err); !usage {
		t.Errorf("%v", err)
	}
}

// FuzzMemory: what is not ours is refused, in bounded memory, and what is ours comes
// out as it went in.
func FuzzMemory(f *testing.F) {
	f.Add([]byte("{\"v\":1,\"boot\":\"b\"}\n{\"file\":\"/x\",\"dev\":1,\"ino\":2,\"size\":3,\"mtime_ns\":-4,\"at_ms\":5,\"bt_ms\":6}\n"))
	f.Add([]byte("{\"v\":1,\"boot\":\"c\"}\nx\n"))
	f.Add([]byte("{\"v\":2}\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := parseMemory(b, "b", time.Hour)
		if err != nil || len(lines) == 0 {
			return
		}
		s := new(Set)
		for _, l := range lines {
			s.entries = append(s.entries, &entry{probe: &beatProbe{path: l.path, beat: beat{watch: l.watch(), last: l.bt}}})
		}
		again, err := parseMemory(s.remember("b"), "b", time.Hour)
		if err != nil || len(again) != len(lines) {
			t.Fatalf("%d lines, then %d: %v", len(lines), len(again), err)
		}
		for i := range lines {
			if again[i] != lines[i] {
				t.Errorf("%+v, then %+v", lines[i], again[i])
			}
		}
	})
}
