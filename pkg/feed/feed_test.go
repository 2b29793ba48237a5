package feed

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/watch"
)

type logger struct{ said []string }

func (l *logger) Warn(msg string, _ ...any) { l.said = append(l.said, msg) }

// TestWhen: each step is a time, what the ids are then, and whether that feeds.
func TestWhen(t *testing.T) {
	type step struct {
		at    time.Duration
		a, b  watch.State // Unknown stands for an id not known
		stall time.Duration
		fed   bool
	}
	const alive, dead, held, suspect, none = watch.Alive, watch.Dead, watch.Held, watch.Suspect, watch.Unknown
	for name, steps := range map[string][]step{
		"dead for long": {
			{at: 1, a: alive, b: alive, fed: true}, {at: 2, a: suspect, b: alive, fed: true}, {at: 3, a: dead, b: alive, fed: true},
			{at: 122, a: dead, b: alive, fed: true}, {at: 123, a: dead, b: alive}, {at: 300, a: dead, b: alive},
			{at: 301, a: alive, b: alive, fed: true}, {at: 302, a: dead, b: alive, fed: true}, {at: 421, a: dead, b: alive, fed: true}, {at: 422, a: dead, b: alive},
		},
		"two for less": {
			{at: 1, a: dead, b: alive, fed: true}, {at: 100, a: alive, b: dead, fed: true}, {at: 200, a: alive, b: dead, fed: true}, {at: 220, a: alive, b: dead},
		},
		"held":        {{at: 1, a: dead, b: alive, fed: true}, {at: 100, a: held, b: alive, fed: true}, {at: 200, a: held, b: alive, fed: true}, {at: 201, a: dead, b: alive, fed: true}},
		"never seen":  {{at: 1, a: none, b: alive, fed: true}, {at: 500, a: none, b: alive, fed: true}},
		"forgotten":   {{at: 1, a: dead, b: alive, fed: true}, {at: 130, a: dead, b: alive}, {at: 140, a: none, b: alive}},
		"a stall":     {{at: 1, a: dead, b: alive, fed: true}, {at: 61, a: dead, b: alive, fed: true}, {at: 9000, stall: 8939, a: dead, b: alive, fed: true}, {at: 9059, a: dead, b: alive, fed: true}, {at: 9060, a: dead, b: alive}},
		"dead afresh": {{at: 1, stall: 50, a: dead, b: alive, fed: true}, {at: 120, a: dead, b: alive, fed: true}, {at: 121, a: dead, b: alive}},
		"a stall is no pardon": {
			{at: 1, a: dead, b: alive, fed: true}, {at: 121, a: dead, b: alive}, {at: 200, stall: 79, a: dead, b: alive}, {at: 260, a: dead, b: alive},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log logger
			f := &Feeder{path: "F", ids: []string{"a", "b"}, after: 2 * time.Minute, log: &log,
				dead: map[string]time.Duration{}, work: make(chan struct{}, 1)}
			for _, s := range steps {
				if s.stall > 0 {
					f.Event(&watch.Event{Kind: watch.LocalStall, Span: s.stall * time.Second})
				}
				f.Tick(s.at*time.Second, func(id string) (watch.State, bool) {
					state := map[string]watch.State{"a": s.a, "b": s.b}[id]
					return state, state != none
				})
				if (len(f.work) == 1) != s.fed {
					t.Errorf("at %d s: fed = %v", s.at, !s.fed)
				}
				for len(f.work) > 0 {
					<-f.work
				}
			}
			want := []string{"F: not fed any more: a is dead for 2m0s", "F: fed again", "F: not fed any more: a is dead for 2m0s"}
			if name == "dead for long" && !slices.Equal(log.said, want) {
				t.Errorf("said %q", log.said)
			}
		})
	}
}

func TestTouch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fed")
	long := time.Unix(1700000000, 0)
	fresh := func() bool {
		st, err := os.Stat(path)
		return err == nil && st.ModTime().After(long.Add(time.Hour))
	}
	if err := touch(path); err != nil || !fresh() {
		t.Errorf("made: %v", err)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := touch(link); err != nil || !fresh() {
		t.Errorf("through a link: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "theirs" {
		t.Errorf("it holds %q", b)
	}

	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for bad, want := range map[string]string{
		"/dev/null": "not a regular file", fifo: "not a regular file", dir: "not a regular file",
		dir + "/no/where": "no such file or directory", path + "/x": "not a directory",
	} {
		if err := touch(bad); err == nil || !strings.HasPrefix(err.Error(), bad+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestFeeder: what cannot be touched is told of once, and touched when it can be.
func TestFeeder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "fed")
	var log logger
	f := New(path, nil, 0, &log)
	at := time.Hour
	tick := func() {
		at += time.Second
		f.Tick(at, nil)
		for deadline := time.Now().Add(time.Minute); len(f.work) > 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	tick()
	tick()
	tick()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tick()
	f.Tick(at+least/2, nil) // too soon
	if len(f.work) > 0 {
		t.Error("fed twice in a moment")
	}
	f.Close(time.Minute)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if !slices.Equal(log.said, []string{path + ": touch: no such file or directory"}) {
		t.Errorf("said %q", log.said)
	}
}
