package prom

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/watch"
)

func TestCheckPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir + "/a.prom":     "",
		"a.prom":            "",
		dir + "/new/a.prom": "", // the directory may come later
		dir + "/a.txt":      "want a name that ends in .prom",
		dir + "/.prom":      "want a name that ends in .prom",
		dir + "/a.prom/":    "want a name that ends in .prom",
		file + "/a.prom":    "not a directory",
	} {
		err := CheckPath(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.prom")
	put := func(text string, result error) error {
		return replace(path, func(w io.Writer) error {
			for _, name := range names(t, dir) {
				if strings.HasSuffix(name, Suffix) && name != "a.prom" {
					t.Errorf("%s would be read", name)
				}
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
			return result
		})
	}
	if err := put("one", nil); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := put("t", errors.New("disk full")); err == nil || err.Error() != "write: disk full" {
		t.Errorf("a failed write: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "one" {
		t.Errorf("after a failed write: %q", b)
	}
	if err := put("two", nil); err != nil {
		t.Fatal(err)
	}
	// Who had it open reads on in the old one.
	if b, _ := io.ReadAll(old); string(b) != "one" {
		t.Errorf("the old file became %q", b)
	}
	b, _ := os.ReadFile(path)
	st, err := os.Stat(path)
	if err != nil || string(b) != "two" || st.Mode() != 0o644 {
		t.Errorf("%q with mode %v: %v", b, st.Mode(), err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// logger passes on what is said.
type logger chan string

func (l logger) Warn(msg string, _ ...any) { l <- msg }

// TestExporter: a directory that is not there is told of once, and tried again.
func TestExporter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "a.prom")
	log := make(logger, 10)
	x := NewExporter(path, "v1", log)
	tick := func(now time.Duration) {
		x.give(now, 0, func(s *watch.Snapshot) { s.IDs = append(s.IDs[:0], watch.Known{ID: "a"}) })
	}
	settled := func() { // the page is back
		p := <-x.idle
		x.idle <- p
	}
	tick(time.Hour)
	settled()
	if said := <-log; said != path+": create: no such file or directory; the metrics are out of date" {
		t.Errorf("said %q", said)
	}
	tick(time.Hour + 4*time.Second) // too soon
	tick(time.Hour + 5*time.Second)
	settled()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tick(time.Hour + 10*time.Second)
	settled()
	if said := <-log; said != path+": written again" {
		t.Errorf("said %q", said)
	}
	has := func(want string, yes bool) {
		t.Helper()
		if b, _ := os.ReadFile(path); strings.Contains(string(b), want) != yes {
			t.Errorf("%q: want %v in\n%s", want, yes, b)
		}
	}
	has(`hbwatch_heartbeat_up{id="a"} 1`, true)
	x.Beat()
	tick(time.Hour + 20*time.Second)
	settled()
	has("\nhbwatch_heartbeats_received_total 0\n", true) // a beat is no change
	x.Event(&watch.Event{Kind: watch.LocalStall})
	tick(time.Hour + 20*time.Second + 500*time.Millisecond)
	settled()
	has("\nhbwatch_local_stalls_total 1\n", true)
	has("\nhbwatch_heartbeats_received_total 1\n", true)
	x.Event(&watch.Event{Kind: watch.LocalStall})
	tick(time.Hour + 21*time.Second)
	settled()
	has("\nhbwatch_local_stalls_total 1\n", true) // not twice a second
	tick(time.Hour + 21*time.Second + 500*time.Millisecond)
	settled()
	has("\nhbwatch_local_stalls_total 2\n", true)
	x.Beat()
	tick(time.Hour + 37*time.Second)
	x.Close(time.Minute)
	has("\nhbwatch_heartbeats_received_total 2\n", true)
	if len(log) > 0 {
		t.Errorf("said %q", <-log)
	}
}
