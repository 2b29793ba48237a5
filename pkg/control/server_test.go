package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/fifo"
)

// patience bounds every wait for something that has to happen.
const patience = 5 * time.Minute

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// memoLog keeps what is said.
type memoLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *memoLog) Warn(msg string, _ ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(msg + "\n")
}

func (l *memoLog) Info(msg string, kv ...any) { l.Warn(msg, kv...) }

func (l *memoLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// bench is a server with verbs that need no process.
type bench struct {
	*Server
	dir  string
	log  *memoLog
	end  chan struct{} // closing it ends the server
	over chan error    // what Serve returned
	free chan struct{} // what the verb wait waits for
}

func (b *bench) verbs() []Verb {
	return []Verb{
		{Name: "say", Help: "it again", Keys: []Key{{Name: "text", Hint: "TEXT", Required: true}}, Run: func(c Call) (Reply, error) {
			var r Reply
			r.Add("text", c.Get("text"))
			return r, nil
		}},
		{Name: "big", Help: "a MiB", Run: func(Call) (Reply, error) {
			return Reply{Data: bytes.Repeat([]byte("0123456789abcde\n"), 1<<16), Save: "last.big"}, nil
		}},
		{Name: "wait", Help: "for the test", Slow: true, Run: func(c Call) (Reply, error) {
			select {
			case <-b.free:
			case <-c.Done:
			}
			return Reply{}, nil
		}},
		{Name: "change", Help: "something", Admin: true, Run: func(Call) (Reply, error) {
			return Reply{}, errors.New("no\nspace")
		}},
	}
}

func prepare() *bench {
	return &bench{log: &memoLog{}, end: make(chan struct{}), over: make(chan error, 1), free: make(chan struct{})}
}

func (b *bench) listen(t *testing.T, c Config) {
	t.Helper()
	c.ID, c.Verbs, c.Log = "svc", b.verbs(), b.log
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Server, b.dir = s, c.Dir
}

func listen(t *testing.T, dir string, rate float64) *bench {
	t.Helper()
	b := prepare()
	b.listen(t, Config{Dir: dir, Rate: rate})
	return b
}

func (b *bench) serve(t *testing.T) {
	t.Helper()
	go func() { b.over <- b.Serve(b.end) }()
	t.Cleanup(func() {
		b.stop()
		select {
		case err := <-b.over:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
	})
}

func (b *bench) stop() {
	select {
	case <-b.end:
	default:
		close(b.end)
	}
}

func start(t *testing.T) *bench {
	t.Helper()
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 0)
	b.serve(t)
	return b
}

func (b *bench) ask(t *testing.T, admin bool, verb string, pairs ...Pair) (Answer, []byte) {
	t.Helper()
	a, data, err := Ask(nil, patience, b.dir, admin, verb, pairs)
	if err != nil {
		t.Fatal(err)
	}
	return a, data
}

// count is one of the numbers of ping.
func (b *bench) count(t *testing.T, key string) string {
	t.Helper()
	a, _ := b.ask(t, true, "ping")
	value, _ := Find(a.Pairs, key)
	return value
}

func put(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	text, _ := os.ReadFile(b.dir + "/" + name)
	return string(text)
}

func TestServer(t *testing.T) {
	b := start(t)
	if a, data := b.ask(t, false, "say", Pair{"text", "größer than é"}); a.Code != "" || len(data) > 0 ||
		fmt.Sprint(a.Pairs) != `[{text gr\xc3\xb6\xc3\x9fer than \xc3\xa9}]` {
		t.Errorf("%+v", a)
	}
	for _, tt := range []struct {
		admin bool
		verb  string
		pairs []Pair
		want  string
	}{
		{false, "change", nil, "denied change: ask at ctl.admin"},
		{false, "quit", nil, "denied quit: ask at ctl.admin"},
		{true, "change", nil, `system no\x0aspace`},
		{true, "nothing", nil, "unknown nothing: no such verb: try help"},
		{false, "say", nil, "usage say: lacks text: usage: say text=TEXT"},
		{false, "say", []Pair{{"text", "x"}, {"loud", "y"}}, "usage say: no key loud: usage: say text=TEXT"},
	} {
		if a, _ := b.ask(t, tt.admin, tt.verb, tt.pairs...); string(a.Code)+" "+a.Text != tt.want {
			t.Errorf("%s: %s %s, want %s", tt.verb, a.Code, a.Text, tt.want)
		}
	}
	if n := b.count(t, "refused"); n != "6" {
		t.Errorf("refused=%s", n)
	}
	a, data := b.ask(t, false, "big")
	if a.Bytes != 1<<20 || !bytes.HasPrefix(data, []byte("0123456789abcde\n")) || b.read("last.big") != string(data) {
		t.Errorf("bytes=%d", a.Bytes)
	}
	_, help := b.ask(t, false, "help")
	for _, word := range []string{"ping ", "say text=TEXT ", "change ", "quit ", "ctl.admin  something\n"} {
		if !strings.Contains(string(help), word) {
			t.Errorf("help lacks %q:\n%s", word, help)
		}
	}
	if left, err := os.ReadDir(b.dir + "/p"); err != nil || len(left) > 0 {
		t.Errorf("p: %v, %v", left, err)
	}
}

func TestServerFiles(t *testing.T) {
	b := start(t)
	put(t, b.dir+"/ctl", "say text=1\n")
	until(t, "last", func() bool { return b.read("last") == "- ok text=1\n" })
	put(t, b.dir+"/ctl", "@q1:f say text=2\n@q2 say text=3\n")
	until(t, "last", func() bool { return b.read("last") == "q2 ok text=3\n" })
	if got := b.read("r/q1"); got != "q1 ok text=2\n" {
		t.Errorf("r/q1: %q", got)
	}
	for name, mode := range map[string]os.FileMode{
		"": os.ModeDir | 0o755, "ctl": os.ModeNamedPipe | 0o620, "ctl.admin": os.ModeNamedPipe | 0o600, "last": 0o640,
		"r": os.ModeDir | 0o700, "r/q1": 0o600, "p": os.ModeDir | os.ModeSetgid | os.ModeSticky | 0o730, "lock": 0o600,
	} {
		if info, err := os.Lstat(b.dir + "/" + name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

func TestServerSlow(t *testing.T) {
	b := start(t)
	put(t, b.dir+"/ctl", "@s1:f wait\n")
	until(t, "busy", func() bool { a, _ := b.ask(t, false, "wait"); return a.Code == Busy })
	// Others are answered meanwhile.
	b.ask(t, false, "ping")
	b.free <- struct{}{}
	until(t, "the answer", func() bool { return b.read("r/s1") == "s1 ok\n" })
	until(t, "free again", func() bool {
		put(t, b.dir+"/ctl", "wait\n")
		select {
		case b.free <- struct{}{}:
			return true
		default:
			return false
		}
	})
}

func TestServerSlowLimit(t *testing.T) {
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 0)
	b.limit = 10 * time.Millisecond
	b.serve(t)
	if a, _ := b.ask(t, false, "wait"); a.Code != Timeout || a.Text != "wait: not done within 10ms" {
		t.Errorf("%+v", a)
	}
	until(t, "another one", func() bool { a, _ := b.ask(t, false, "wait"); return a.Code == Timeout })
}

// TestServerEnds: with a slow verb under way.
func TestServerEnds(t *testing.T) {
	b := start(t)
	put(t, b.dir+"/ctl", "wait\n")
	until(t, "under way", func() bool { a, _ := b.ask(t, false, "wait"); return a.Code == Busy })
	b.stop()
	until(t, "gone", func() bool {
		_, err1 := os.Lstat(b.dir + "/ctl")
		_, err2 := os.Lstat(b.dir + "/ctl.admin")
		return err1 != nil && err2 != nil
	})
	if _, _, err := Ask(nil, patience, b.dir, false, "ping", nil); !errors.Is(err, fifo.ErrNotServed) {
		t.Error(err)
	}
}

func TestServerQuit(t *testing.T) {
	b := start(t)
	if a, _ := b.ask(t, true, "quit"); a.Code != "" {
		t.Errorf("%+v", a)
	}
	until(t, "Serve returned", func() bool { return len(b.over) == 1 })
	if _, err := os.Lstat(b.dir + "/ctl"); err == nil {
		t.Error("ctl is still there")
	}
	// The next server takes over, and does not run what was meant for this one.
	if err := syscall.Mkfifo(b.dir+"/ctl.admin", 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(b.dir+"/ctl.admin", os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put(t, b.dir+"/ctl.admin", "quit\n")
	next := listen(t, b.dir, 0)
	next.serve(t)
	if n := next.count(t, "lines"); n != "1" {
		t.Errorf("lines=%s: a stale one was read", n)
	}
}

func TestSecondServer(t *testing.T) {
	b := start(t)
	want := fmt.Sprintf("%s/lock: served already by pid %d", b.dir, os.Getpid())
	if _, err := Listen(Config{Dir: b.dir, ID: "svc", Log: b.log}); !errors.Is(err, fifo.ErrServed) || err.Error() != want {
		t.Errorf("have %v\nwant %s", err, want)
	}
	b.ask(t, false, "ping")
}

func TestServerHeals(t *testing.T) {
	b := start(t)
	if err := errors.Join(os.Remove(b.dir+"/ctl"), os.WriteFile(b.dir+"/ctl", []byte("dump\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	until(t, "healed", func() bool {
		info, err := os.Lstat(b.dir + "/ctl")
		return err == nil && info.Mode() == os.ModeNamedPipe|0o620
	})
	b.ask(t, false, "ping")
	until(t, "said", func() bool { return strings.Contains(b.log.String(), "removed or replaced") })
}

func TestServerDirectoryGone(t *testing.T) {
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 0)
	go func() { b.over <- b.Serve(b.end) }()
	b.ask(t, false, "ping")
	// The answer may be on its way into last.
	until(t, "removed", func() bool { return os.RemoveAll(b.dir) == nil })
	select {
	case err := <-b.over:
		if err == nil || err.Error() != b.dir+": directory was removed" {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("serves a directory that is gone")
	}
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// TestServerManyCommands: descriptors are the same after 10⁵ commands, by each
// way of answering, and all are given back at the end.
func TestServerManyCommands(t *testing.T) {
	before := descriptors(t)
	b := start(t)
	ctl, err := os.OpenFile(b.dir+"/ctl", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	const batch = 50
	commands := strings.Repeat("@f:f ping\n@nobody:p ping\nbad line\nsay text=x\nping\n", batch/5)
	rounds := func(n int) {
		for range n {
			if _, err := ctl.WriteString(commands); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(b.dir + "/r/f")
		}
		if a, _ := b.ask(t, false, "say", Pair{"text", "x"}); a.Code != "" {
			t.Fatalf("%+v", a)
		}
	}
	rounds(20)
	serving := descriptors(t)
	rounds(2000)
	until(t, "all commands", func() bool { return b.Server.count.lines.Load() == 2020*batch+2 })
	until(t, "as many descriptors as before", func() bool { return descriptors(t) <= serving })
	b.stop()
	ctl.Close()
	until(t, "all given back", func() bool { return descriptors(t) <= before })
}
