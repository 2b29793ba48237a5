package explain

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// strangers fills a spool with what must never be removed from it.
func strangers(t *testing.T, dir string) []string {
	t.Helper()
	names := []string{
		"a.json", "a_1.json", "a_1_x.json", "a_1_20260101T000000.000Z.json.gz", "a_x_20260101T000000.000Z.json",
		"a_01_20260101T000000.000Z.json", "b_1_20260101T000000.000Z.json", "a_b_1_20260101T000000.000Z.json",
	}
	for _, name := range names {
		if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Ours by name, but not by kind: a link, a second name, a FIFO, a directory.
	for i, plant := range []func(string) error{
		func(p string) error { return os.Symlink(dir+"/a.json", p) },
		func(p string) error { return os.Link(dir+"/a.json", p) },
		func(p string) error { return syscall.Mkfifo(p, 0o600) },
		func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		name := fmt.Sprintf("a_%d_20000101T000000.000Z.json", i+1)
		if err := plant(dir + "/" + name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(dir, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dir.Close()
	others := strangers(t, dir)
	at := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	var kept []string
	for i := range 5 {
		// Two at the same time, and a clock that was set back.
		name, err := s.Keep("a", 7+i, at.Add(-time.Duration(i)*time.Hour), []byte("{}\n"))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, name)
	}
	again, err := s.Keep("a", 7, at, []byte("{}\n"))
	if err != nil || kept[0] != "a_7_20260203T040506.007Z.json" || again != "a_7_20260203T040506.008Z.json" {
		t.Errorf("%s, then %s, %v", kept[0], again, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, e := range list {
		left[e.Name()] = true
	}
	for _, name := range append(others, kept[0], again) {
		if !left[name] {
			t.Errorf("%s was removed", name)
		}
		delete(left, name)
	}
	if len(left) > 0 {
		t.Errorf("left beyond the limit: %v", left)
	}
}

// TestSpoolBytes: the oldest go until the rest fits; the latest stays, however
// large it is.
func TestSpoolBytes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(dir, 10, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dir.Close()
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for i, tt := range []struct{ size, left int }{{40, 1}, {40, 2}, {40, 2}, {20, 3}, {500, 1}, {10, 1}, {10, 2}} {
		if _, err := s.Keep("a", 7, at.Add(time.Duration(i)*time.Second), make([]byte, tt.size)); err != nil {
			t.Fatal(err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != tt.left {
			t.Errorf("after %d: %v, %v, want %d", i, list, err, tt.left)
		}
	}
}
