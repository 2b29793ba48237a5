package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// real is a Watcher on real directories, that is woken by hand.
func real(t *testing.T, paths ...string) (*Watcher, *journal, *[]Event) {
	t.Helper()
	var log journal
	var events []Event
	w, err := Open(Options{
		Config: Config{TTLMax: time.Hour, TimeoutMax: time.Hour, StoppedMax: time.Hour},
		Paths:  paths, Log: &log,
		Emit: func(ev Event) { events = append(events, ev) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.tick(true)
	return w, &log, &events
}

func foreignFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// directory makes one that is its owner's alone, whatever the umask.
func directory(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Mkdir(path, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// later wakes the watcher until ok; each time it believes that the last scan
// is long ago.
func (w *Watcher) later(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		for _, s := range w.sources {
			s.looked, s.scan = 0, 0
		}
		w.last = w.now()
		w.tick(false)
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not within a minute")
		}
	}
}

func TestDirectoryIsReplaced(t *testing.T) {
	hb := filepath.Join(t.TempDir(), "hb")
	directory(t, hb, 0o755)
	w, log, events := real(t, hb)
	foreignFile(t, filepath.Join(hb, "a.hb"))
	w.later(t, func() bool { return len(*events) == 1 })
	if (*events)[0].File != filepath.Join(hb, "a.hb") {
		t.Fatalf("%+v", *events)
	}
	if err := os.Rename(hb, hb+".old"); err != nil {
		t.Fatal(err)
	}
	w.later(t, func() bool { return len(log.lines) == 1 })
	foreignFile(t, filepath.Join(hb+".old", "b.hb")) // a stranger by now
	directory(t, hb, 0o777)
	w.later(t, func() bool { return len(log.lines) == 2 })
	if err := os.Chmod(hb, 0o755); err != nil {
		t.Fatal(err)
	}
	foreignFile(t, filepath.Join(hb, "c.hb"))
	w.later(t, func() bool { return len(*events) == 2 })
	var ids []string
	for _, ev := range *events {
		ids = append(ids, ev.ID)
	}
	if !slices.Equal(ids, []string{"a", "c"}) {
		t.Errorf("found %q", ids)
	}
	if len(log.lines) != 2 || !strings.HasSuffix(log.lines[0], "hb: directory is gone") || !strings.Contains(log.lines[1], "mode 0777") {
		t.Errorf("warnings %q", log.lines)
	}
}

func TestSameDirectoryTwice(t *testing.T) {
	dir := t.TempDir()
	hb, link := filepath.Join(dir, "hb"), filepath.Join(dir, "link")
	directory(t, hb, 0o755)
	if err := os.Symlink("hb", link); err != nil {
		t.Fatal(err)
	}
	foreignFile(t, filepath.Join(hb, "a.hb"))
	foreignFile(t, filepath.Join(hb, "b.hb"))
	w, log, events := real(t, filepath.Join(hb, "a.hb"), link, hb)
	if len(w.sources) != 1 || len(*events) != 2 || len(log.lines) != 0 {
		t.Errorf("%d sources, %d events, warnings %q", len(w.sources), len(*events), log.lines)
	}
	if !w.core.entry("a").expected || w.core.entry("b").expected {
		t.Error("only the one that was named is expected")
	}
}

func TestNamedFilesOnly(t *testing.T) {
	hb := t.TempDir()
	if err := os.Chmod(hb, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		foreignFile(t, filepath.Join(hb, id+".hb"))
	}
	_, _, events := real(t, filepath.Join(hb, "a.hb"), filepath.Join(hb, "c.hb"))
	if len(*events) != 2 || (*events)[0].ID != "a" || (*events)[1].ID != "c" {
		t.Errorf("%+v", *events)
	}
}

// TestMovedFile: an id may move to another directory.
func TestMovedFile(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	directory(t, one, 0o755)
	directory(t, two, 0o755)
	foreignFile(t, filepath.Join(one, "a.hb"))
	w, log, _ := real(t, one, two)
	foreignFile(t, filepath.Join(two, "a.hb"))
	w.later(t, func() bool { return len(log.lines) > 0 })
	if len(log.lines) != 1 || !strings.Contains(log.lines[0], "watched elsewhere") {
		t.Errorf("warnings %q", log.lines)
	}
	if err := os.Remove(filepath.Join(one, "a.hb")); err != nil {
		t.Fatal(err)
	}
	w.core.Hurry(0)
	w.later(t, func() bool { return w.core.entries[0].source == 1 && !w.core.entries[0].missing })
	if w.core.entries[0].state != Alive {
		t.Errorf("%+v", w.core.entries[0])
	}
}

// TestBogusNames: a million of them cost no more memory than a few, and one line.
func TestBogusNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hb")
	directory(t, dir, 0o755)
	var log journal
	all, err := openSources([]string{dir}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer all[0].dir.Close()
	cost := func(upTo int) float64 {
		t.Helper()
		for i := all[0].bogus; i < upTo; i++ {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("no id %d.hb", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return testing.AllocsPerRun(1, func() {
			names, err := all[0].list(&log, func(string, bool) bool { return false })
			if err != nil || len(names) != 0 {
				t.Fatalf("%d names, %v", len(names), err)
			}
		})
	}
	few, many := cost(100), cost(5000)
	if many > few+20 {
		t.Errorf("%.0f allocations for 5000 bogus names, %.0f for 100", many, few)
	}
	want := []string{dir + ": some names are no ids with .hb: ignored", dir + ": some names are no ids with .hb: ignored"}
	if got := log.lines; !slices.Equal(got, want) {
		t.Errorf("said %q", got)
	}
}
