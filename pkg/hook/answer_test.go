package hook

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAnswered: every run is told, whatever became of it.
func TestAnswered(t *testing.T) {
	answers := make(chan Answer, 10)
	answered := func(c *Config) {
		c.Answered = func(key string, a Answer) {
			if key != "a" {
				t.Errorf("key %q", key)
			}
			answers <- a
		}
	}
	f := start(t, `
echo x >>"$VIGIL_DIR/runs"
case $HB_TO in
kill) kill -9 $$ ;;
*) exit $HB_TO ;;
esac
`, answered)
	for _, tt := range []struct{ what, fault string }{
		{"0", ""}, {"3", "exit status 3"}, {"kill", "signal: killed"}, {"1", "exit status 1"},
	} {
		f.Submit("a", []string{"HB_TO=" + tt.what})
		a := <-answers
		if a.Fault() != tt.fault || errors.Is(a.Err, ErrStart) {
			t.Errorf("%s: %+v, want %q", tt.what, a, tt.fault)
		}
	}
	f.Close(generous)
	if n := strings.Count(f.read("runs"), "x"); n != 4 || len(f.warns) != 0 {
		t.Errorf("%d runs, warnings %q", n, f.warns)
	}
	f = start(t, `trap '' TERM; while :; do sleep 0.1; done`, func(c *Config) {
		answered(c)
		c.Timeout = 300 * time.Millisecond
	})
	for range 2 {
		f.Submit("a", nil)
		if a := <-answers; a.Fault() != "stopped after 300ms" || errors.Is(a.Err, ErrStart) {
			t.Errorf("hangs: %+v", a)
		}
	}
	f.Close(generous)
	f = start(t, "", answered)
	if err := os.Remove(f.dir + "/hook"); err != nil {
		t.Fatal(err)
	}
	f.Submit("a", nil)
	if a := <-answers; !errors.Is(a.Err, ErrStart) || !errors.Is(a.Err, fs.ErrNotExist) || a.Fault() != "start: no such file or directory" {
		t.Errorf("no file: %+v", a)
	}
}

// TestWait: a run that ends in time, and one that does not.
func TestWait(t *testing.T) {
	r := &Runner{cfg: Config{Timeout: generous}, stop: make(chan struct{})}
	ended := make(chan Answer, 1)
	busy := time.AfterFunc(20*time.Millisecond, func() { ended <- Answer{Status: 5} })
	defer busy.Stop()
	if a, over := r.wait(ended); !over || a.Status != 5 {
		t.Errorf("%+v, %v", a, over)
	}
	r.cfg.Timeout = 80 * time.Millisecond
	if a, over := r.wait(ended); over || a.Fault() != "stopped after 80ms" {
		t.Errorf("%+v, %v", a, over)
	}
}
