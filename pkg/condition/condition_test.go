package condition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/flag"
	"vigil/pkg/hold"
)

// sim is a clock that stands until it is moved.
type sim struct{ Clock }

func (s *sim) read() Clock { return s.Clock }

func (s *sim) sleep(d time.Duration) {
	s.Boot += d
	s.WallNS += int64(d)
}

// scripted is a condition that says what it is told to.
type scripted struct {
	reason  string
	looks   int
	renewed []time.Duration
}

func (p *scripted) look(func() Clock, time.Duration) string { p.looks++; return p.reason }
func (p *scripted) check() error                            { return nil }
func (p *scripted) renew(now time.Duration)                 { p.renewed = append(p.renewed, now) }

// holder excuses ids until a time.
type holder map[string]time.Duration

func (h holder) Active(id string, now time.Duration) (hold.Lease, bool) {
	until, ok := h[id]
	return hold.Lease{ID: id, By: "root", Reason: "gdb"}, ok && now < until
}

func TestJudge(t *testing.T) {
	p := &scripted{reason: "missing"}
	s := &Set{entries: []*entry{{id: "a", probe: p}}}
	c := &sim{Clock{Boot: time.Hour}}
	held := holder{}
	const grace = 10 * time.Second
	for _, step := range []struct {
		after  time.Duration
		reason string // of the probe
		hold   time.Duration
		want   State
		once   bool
	}{
		{0, "missing", 0, Waiting, false},
		{9 * time.Second, "missing", 0, Waiting, false},
		{time.Second, "missing", 0, Fails, false},
		{time.Second, "missing", 20 * time.Second, Held, false},
		{20 * time.Second, "missing", 0, Waiting, false}, // its grace starts afresh
		{5 * time.Second, "", 0, Holds, true},
		{time.Second, "silent", 0, Fails, true},
		{time.Second, "silent", 5 * time.Second, Held, true},
		{4 * time.Second, "silent", 0, Held, true},
		{time.Second, "silent", 0, Fails, true}, // no grace for what has held
		{time.Second, "", 0, Holds, true},
	} {
		c.sleep(step.after)
		p.reason = step.reason
		if step.hold != 0 {
			held["a"] = c.Boot + step.hold
		}
		v := s.Judge(c.read, held, grace)[0]
		if v.State != step.want || v.Once != step.once || v.ID != "a" {
			t.Fatalf("at %s: have %+v, want state %d, once %t", c.Boot-time.Hour, v, step.want, step.once)
		}
		if v.State == Held && v.Reason != "held by root: gdb" || v.State == Fails && v.Reason != step.reason {
			t.Errorf("at %s: reason %q", c.Boot-time.Hour, v.Reason)
		}
	}
	if p.looks != 8 {
		t.Errorf("%d looks, want 8: none while held", p.looks)
	}
	if len(p.renewed) != 2 {
		t.Errorf("clock renewed at %v, want twice", p.renewed)
	}
}

func TestSuspendRenews(t *testing.T) {
	p := &scripted{}
	s := &Set{entries: []*entry{{id: "a", probe: p}}}
	c := &sim{Clock{Boot: time.Hour, Suspended: time.Minute}}
	s.Judge(c.read, nil, 0) // the first look knows of no sleep
	c.sleep(time.Minute)
	s.Judge(c.read, nil, 0)
	if len(p.renewed) != 0 {
		t.Fatalf("renewed at %v without a suspend", p.renewed)
	}
	c.sleep(time.Hour)
	c.Suspended += time.Hour
	s.Judge(c.read, nil, 0)
	s.Judge(c.read, nil, 0)
	if len(p.renewed) != 1 || p.renewed[0] != c.Boot {
		t.Errorf("renewed at %v, want once at %s", p.renewed, c.Boot)
	}
}

func TestSum(t *testing.T) {
	ok, held := Verdict{"a", Holds, "", true}, Verdict{"b", Held, "held", true}
	never := Verdict{"c", Held, "held", false}
	waits, one, two := Verdict{"d", Waiting, "missing", false}, Verdict{"e", Fails, "one", true}, Verdict{"f", Fails, "two", true}
	for _, tt := range []struct {
		name     string
		verdicts []Verdict
		want     Verdict
		ready    bool
	}{
		{"all hold", []Verdict{ok, ok}, Verdict{}, true},
		{"held", []Verdict{ok, held}, held, true},
		{"held, never held before", []Verdict{ok, never}, never, false},
		{"waiting", []Verdict{ok, waits, held}, waits, false},
		{"first of the worst", []Verdict{ok, one, held, two}, one, true},
		{"fails beside waiting", []Verdict{waits, two}, two, false},
	} {
		if got, ready := Sum(tt.verdicts); got != tt.want || ready != tt.ready {
			t.Errorf("%s: have %+v, %t; want %+v, %t", tt.name, got, ready, tt.want, tt.ready)
		}
	}
}

func parse(t *testing.T, args ...string) (*Set, error) {
	t.Helper()
	var s Set
	fs := new(flag.FlagSet)
	s.Flags(fs)
	return &s, fs.Parse(args)
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct{ arg, id string }{
		{"-fresh=/run/vigil/hb/svc-A-01.hb=15s", "svc-A-01"},
		{"-fresh=other:/run/svc.hb=15s", "other"},
		{"-fresh=/var/log/app.log=1m", "app.log"},
		{"-fresh=svc:/a=b/c=d=1m", "svc"},
		{"-fresh=svc:/var/log/app.log=1h30m", "svc"},
		{"-pidfile=/run/svc-A.pid", "svc-A"},
		{"-pidfile=db:/run/postmaster", "db"},
		{"-exists=/run/ready", "ready"},
		{"-absent=./a:b", ""},
		{"-absent=x:./a:b", "x"},
		{"-absent=a:b", "a"},
		{"-exists=/", ""},
		{"-exists=root:/", "root"},
		{"-fresh=/a b=1s", ""},
		{"-fresh=/app.log", ""},
		{"-fresh=/app.log=", ""},
		{"-fresh=/app.log=0s", ""},
		{"-fresh=/app.log=-1s", ""},
		{"-fresh=/app.log=15", ""},
		{"-fresh==1s", ""},
		{"-exists=", ""},
		{"-exists=x:", ""},
		{"-pidfile=/run/.pid", ""},
	} {
		s, err := parse(t, tt.arg)
		switch {
		case tt.id == "" && err == nil:
			t.Errorf("%s: taken as %q", tt.arg, s.entries[0].id)
		case tt.id != "" && err != nil:
			t.Errorf("%s: %v", tt.arg, err)
		case tt.id != "" && (s.Len() != 1 || !s.Has(tt.id) || s.Has("nobody")):
			t.Errorf("%s: id %q, want %q", tt.arg, s.entries[0].id, tt.id)
		}
	}
}

// FuzzWord holds the words to: what is taken apart can be put together again
// and means the same.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"", "a", ":", "a:", "a:b", "a:/b=15s", "/a=b=15s", "./a:b=1h", "-x:/y", "a\x00", "=1s", "/x=1ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if id, file, err := parseNamed(word); err == nil {
			if file == "" || strings.Contains(file, "\x00") || id == "" && file != word || id != "" && id+":"+file != word {
				t.Errorf("%q: %q, %q", word, id, file)
			}
		}
		if id, file, within, err := parseFresh(word); err == nil {
			if id != "" {
				file = id + ":" + file
			}
			again, _, same, err := parseFresh(file + "=" + within.String())
			if err != nil || again != id || same != within || within <= 0 {
				t.Errorf("%q: %q, %s; again %q, %s, %v", word, id, within, again, same, err)
			}
		}
	})
}

func TestExistsAbsent(t *testing.T) {
	dir := t.TempDir()
	file, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "dangling")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	clock := (&sim{}).read
	for _, tt := range []struct {
		path           string
		exists, absent string
	}{
		{file, "", "present"},
		{filepath.Join(dir, "no"), missing, ""},
		{filepath.Join(file, "under"), "not a directory", ""},
		{dangling, missing, "present"},
	} {
		if got := (existsProbe{tt.path}).look(clock, 0); got != tt.exists {
			t.Errorf("-exists %s: %q, want %q", tt.path, got, tt.exists)
		}
		if got := (absentProbe{tt.path}).look(clock, 0); got != tt.absent {
			t.Errorf("-absent %s: %q, want %q", tt.path, got, tt.absent)
		}
	}
}
