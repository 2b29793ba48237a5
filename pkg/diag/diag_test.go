package diag

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/control"
	"vigil/pkg/fifo"
)

// program is a test that serves a directory.
type program struct {
	*testing.T
	*Diag
	dir string
}

func start(t *testing.T, c Config) *program {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(home(t), "svc")
	}
	c.Log = func(text string) { t.Log(text) }
	if c.Rate == 0 {
		c.Rate = -1
	}
	d, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return &program{t, d, c.Dir}
}

// home is a directory that can be trusted, whatever the umask.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ask sends "VERB KEY=VALUE ..." and gives the answer as a line, with its data.
func (p *program) ask(admin bool, command string) (line, data string) {
	p.Helper()
	words := strings.Split(command, " ")
	var pairs []control.Pair
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		pairs = append(pairs, control.Pair{Key: key, Value: value})
	}
	a, b, err := control.Ask(nil, 5*time.Minute, p.dir, admin, words[0], pairs)
	if err != nil {
		p.Fatalf("%s: %v", command, err)
	}
	if a.Code != "" {
		return string(a.Code) + ": " + a.Text, ""
	}
	return string(control.AppendReply(nil, "", control.Reply{Pairs: a.Pairs}, nil)), string(b)
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not seen in time: %s", what)
		}
	}
}

func TestBuiltIn(t *testing.T) {
	p := start(t, Config{})
	for _, test := range []struct {
		command, line, data string
	}{
		{"ping", "id=svc", ""},
		{"status", fmt.Sprintf("pid=%d", os.Getpid()), ""},
		{"threads", "", "TID"},
		{"goroutines", "goroutines=", "goroutine profile: total "},
		{"goroutines max=20", "truncated=yes", "goroutine profile: t"},
		{"goroutines max=0", "usage: max 0: want 1 to 16777216 bytes", ""},
		{"runtime", "heap_live_bytes=", ""},
		{"runtime", "gc_pause_s=", ""},
		{"metrics of=/gc/cycles", "ok", "/gc/cycles/total:gc-cycles "},
		{"metrics of=/none", "usage: of /none: no metric begins so", ""},
		{"build", "go=" + runtime.Version(), "path\tvigil/pkg/diag"},
		{"stacks", "denied: ", ""},
		{"profile kind=heap", "unknown: ", ""}, // there is no Out
		{"help", "", "metrics [of=PREFIX]"},
	} {
		line, data := p.ask(false, test.command)
		if !strings.Contains(line, test.line) || !strings.Contains(data, test.data) {
			t.Errorf("%s: %q %.200q, want %q and %q", test.command, line, data, test.line, test.data)
		}
	}
	if line, data := p.ask(true, "stacks"); !strings.Contains(line, " ok ") || !strings.Contains(data, "[chan receive") && !strings.Contains(data, "[select") {
		t.Errorf("stacks: %q %.300q", line, data)
	}
	if line, data := p.ask(true, "stacks max=100"); !strings.Contains(line, "truncated=yes") || len(data) != 101 {
		t.Errorf("stacks max=100: %q %d bytes", line, len(data))
	}
}

func TestDumpKnowsTheInside(t *testing.T) {
	spool := home(t)
	p := start(t, Config{Out: spool, Keep: 2})
	stop := make(chan struct{})
	defer close(stop)
	for range 9 {
		go waitFor(stop)
	}
	type insight struct {
		Schema string
		PID    int `json:"process.pid"`
		Go     struct {
			Version    string
			Goroutines int
			HeapLive   int `json:"heap_live_bytes"`
			Groups     []struct {
				Count int
				Stack []string
			}
			Truncated bool
		}
	}
	var full, light insight
	until(t, "nine that wait in one place", func() bool {
		full = insight{}
		_, data := p.ask(false, "dump")
		if err := json.Unmarshal([]byte(data), &full); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		for _, g := range full.Go.Groups {
			if g.Count == 9 && len(g.Stack) == 2 && strings.HasPrefix(g.Stack[0], "runtime.chanrecv1 ") && strings.HasPrefix(g.Stack[1], "vigil/pkg/diag.waitFor /") {
				return true
			}
		}
		return false
	})
	if full.Schema != "vigil.dump/1" || full.PID != os.Getpid() || full.Go.Version != runtime.Version() || full.Go.Goroutines < 10 || full.Go.Truncated {
		t.Errorf("%+v", full)
	}
	_, data := p.ask(false, "dump level=light")
	if err := json.Unmarshal([]byte(data), &light); err != nil || light.Go.Goroutines < 10 || light.Go.Groups != nil {
		t.Errorf("%v %+v", err, light)
	}
	line, _ := p.ask(false, "dump level=light")
	kept, err := filepath.Glob(spool + "/svc_*.json")
	if err != nil || len(kept) != 2 || !strings.Contains(line, "kept=svc_") {
		t.Fatalf("kept %q %v: %q", kept, err, line)
	}
	if text, err := os.ReadFile(kept[1]); err != nil || !strings.Contains(string(text), `,"go":{`) {
		t.Errorf("kept %v %s", err, text)
	}
	if text, err := os.ReadFile(p.dir + "/last.dump"); err != nil || !json.Valid(text) {
		t.Errorf("last.dump: %v %s", err, text)
	}
}

func waitFor(stop chan struct{}) { <-stop }

func TestSignals(t *testing.T) {
	p := start(t, Config{Light: syscall.SIGUSR1, Full: syscall.SIGUSR2})
	for _, test := range []struct {
		signal syscall.Signal
		level  string
	}{{syscall.SIGUSR1, "light"}, {syscall.SIGUSR2, "full"}} {
		if err := syscall.Kill(os.Getpid(), test.signal); err != nil {
			t.Fatal(err)
		}
		until(t, test.level, func() bool {
			text, _ := os.ReadFile(p.dir + "/last.dump") // none yet
			return strings.Contains(string(text), `"level":"`+test.level+`"`)
		})
	}
}

func TestProfiles(t *testing.T) {
	spool := home(t)
	p := start(t, Config{Out: spool, Keep: 2})
	stranger := []string{"svc_heap_20260101T000000.000.pprof", "svc_heap_20261301T000000.000Z.pprof", "other_heap_20260101T000000.000Z.pprof", "svc_heap_.pprof"}
	for _, name := range stranger {
		if err := os.WriteFile(filepath.Join(spool, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		line, _ := p.ask(true, "profile kind=heap")
		if !strings.Contains(line, "file="+spool+"/svc_heap_") {
			t.Errorf("heap: %q", line)
		}
	}
	left, err := filepath.Glob(spool + "/*heap*")
	if err != nil || len(left) != len(stranger)+2 {
		t.Errorf("left: %q %v", left, err)
	}
	for _, test := range []struct{ command, want string }{
		{"profile kind=cpu for=50ms", "file=" + spool + "/svc_cpu_"},
		{"profile kind=goroutine", "svc_goroutine_"},
		{"profile kind=none", "usage: kind none: want one of cpu, heap, "},
		{"profile kind=cpu for=2h", "usage: for 2h: want a time of at most 1m0s"},
		{"profile kind=heap for=1s", "usage: for 1s"},
		{"profile", "usage: profile: lacks kind"},
	} {
		if line, _ := p.ask(true, test.command); !strings.Contains(line, test.want) {
			t.Errorf("%s: %q, want %q", test.command, line, test.want)
		}
	}
	for _, name := range left {
		if text, err := os.ReadFile(name); err != nil || len(text) > 0 && string(text[:2]) != "\x1f\x8b" { // gzip
			t.Errorf("%s: %v %.10q", name, err, text)
		}
	}
}

func TestVerbsCannotHurt(t *testing.T) {
	release := make(chan struct{})
	p := start(t, Config{Verbs: []Verb{
		{Name: "crash", Help: "h", Run: func(c Call) (Reply, error) { return Reply{}, errors.New(c.Get("x")[1:]) }},
		{Name: "hang", Help: "h", Run: func(Call) (Reply, error) { <-release; return Reply{}, nil }},
		{Name: "fault", Help: "h", Run: func(Call) (Reply, error) { return Reply{}, errors.New("disk: full\n") }},
		Text("long", "h", func(w io.Writer) error { _, err := io.WriteString(w, strings.Repeat("x", 3<<20)); return err }),
	}})
	if line, _ := p.ask(false, "crash"); !strings.Contains(line, "system: crash: panic: runtime error: slice bounds out of range [1:0] at /") || !strings.Contains(line, "diag_test.go:") {
		t.Errorf("crash: %q", line)
	}
	if line, _ := p.ask(false, "fault"); !strings.HasPrefix(line, "system: disk: full") {
		t.Errorf("fault: %q", line)
	}
	if line, data := p.ask(false, "long"); !strings.Contains(line, "truncated=yes") || len(data) != 1<<20 {
		t.Errorf("long: %q %d", line, len(data))
	}
	// One hangs: the next one is told so, others go on, and who closes does not
	// wait for it.
	until(t, "busy", func() bool {
		a, _, err := control.Ask(nil, time.Second, p.dir, false, "hang", nil)
		return err == nil && a.Code == control.Busy
	})
	if line, _ := p.ask(false, "ping"); !strings.Contains(line, " ok ") {
		t.Errorf("ping: %q", line)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	close(release)
}

func TestCloseRemoves(t *testing.T) {
	// The one that hears signals stays for ever.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	signal.Stop(signals)
	before := runtime.NumGoroutine()
	parent := home(t)
	made := start(t, Config{Dir: parent + "/made", Socket: true, Light: syscall.SIGUSR1})
	given := parent + "/given"
	if err := os.Mkdir(given, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(given+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kept := start(t, Config{Dir: given, ID: "other"})
	if _, err := Start(Config{Dir: given}); !errors.Is(err, fifo.ErrServed) {
		t.Errorf("a second one: %v", err)
	}
	for _, p := range []*program{made, kept} {
		p.ask(false, "dump")
		f, err := os.OpenFile(p.dir+"/ctl", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("\n@nobody:f ping\n"); err != nil {
			t.Fatal(err)
		}
		until(t, "an answer that nobody fetches", func() bool { _, err := os.Stat(p.dir + "/r/nobody"); return err == nil })
		_ = f.Close()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if _, err := os.Stat(made.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made: %v", err)
	}
	left, err := os.ReadDir(given)
	if err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("given: %q %v", left, err)
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	again := start(t, Config{Dir: given})
	if line, _ := again.ask(true, "quit"); !strings.Contains(line, " ok") {
		t.Errorf("quit: %q", line)
	}
	until(t, "its end", func() bool { _, err := os.Stat(given + "/lock"); return errors.Is(err, os.ErrNotExist) })
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	run := func(Call) (Reply, error) { return Reply{}, nil }
	open := filepath.Join(home(t), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home(t), "x")
	for _, test := range []struct {
		c    Config
		want string
	}{
		{Config{}, "want a directory"},
		{Config{Dir: open}, "not trusted"},
		{Config{Dir: dir + "/deeper"}, "no such file"},
		{Config{Dir: dir, ID: "a b"}, `id "a b"`},
		{Config{Dir: "/"}, `id "/"`},
		{Config{Dir: dir, Out: open}, "not trusted"},
		{Config{Dir: dir, Out: dir + "/none"}, "no such file"},
		{Config{Dir: dir, Verbs: []Verb{{Name: "dump", Run: run}}}, `verb "dump"`},
		{Config{Dir: dir, Verbs: []Verb{{Name: "a b", Run: run}}}, `verb "a b"`},
		{Config{Dir: dir, Verbs: []Verb{{Name: "none"}}}, `verb "none"`},
	} {
		d, err := Start(test.c)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.c, err, test.want)
		}
		if d != nil {
			_ = d.Close()
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("left behind: " + dir)
	}
}

// TestHostileInput: whatever is written, the program is still explained.
func TestHostileInput(t *testing.T) {
	p := start(t, Config{Rate: 20})
	f, err := os.OpenFile(p.dir+"/ctl", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, text := range []string{
		strings.Repeat("x", 1<<20), "\n\x00\xff\x1b[2J\n", strings.Repeat("ping\n", 5000), "@../../x:f ping\n", "@x:p dump\n",
		strings.Repeat("goroutines\n", 100), "metrics of=" + strings.Repeat("%41", 1000) + "\n", "goroutines max=99999999999999999999\n", "half a li",
	} {
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	if line, data := p.ask(true, "stacks"); !strings.Contains(line, " ok ") || !strings.Contains(data, "TestHostileInput") {
		t.Errorf("stacks: %q", line)
	}
}
