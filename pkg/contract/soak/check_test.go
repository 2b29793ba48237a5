package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checker builds the checker, in a directory of the process.
var checker = sync.OnceValues(func() (string, error) {
	name := filepath.Join(scratch, "check")
	cmd := exec.Command("go", "build", "-o", name, ".")
	cmd.Dir = "testdata/check"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return name, nil
})

var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vigil-soak-")
	if err != nil {
		panic(err)
	}
	scratch = dir
	defer os.RemoveAll(dir)
	m.Run()
}

// judge runs the checker on a file, and gives what it said and its exit status.
func judge(t *testing.T, file string) (said string, code int) {
	t.Helper()
	name, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, file)
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// quote makes a line of the truth of a line that a program printed.
func quote(kind string, bt int, text string) string {
	return fmt.Sprintf(`{"bt":%d,"kind":%q,"line":%q}`, bt, kind, text)
}

func change(bt int, id, from, to string, age int) string {
	return fmt.Sprintf(`{"time":"x%d","event":"transition","id":%q,"from":%q,"to":%q,"age_ms":%d,"deadline_ms":12000,"reason":"timeout"}`, bt, id, from, to, age)
}

// sound is the truth of a host of two services: svc-000 is silent for half a
// minute and found dead, svc-001 crashes, is held once, forgotten under a hold
// once, and found dead then. It is long: a table.
func sound() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	event := func(bt int, text string) {
		lines = append(lines, quote("event", bt, text), quote("kept", 500000, text))
	}
	hook := func(bt int, id, from, to string) {
		lines = append(lines, quote("hook", 500000, fmt.Sprintf("%d.%02d %s %s %s timeout", bt/1000, bt%1000/10, id, from, to)))
	}
	add(`{"bt":1,"kind":"soak","seed":7,"length_ms":400000,"services":2}`)
	for n, id := range []string{"svc-000", "svc-001"} {
		add(`{"bt":2,"kind":"service","id":%q,"least_ms":12000,"most_ms":12000,"interval_ms":2000,"patience_ms":4000,"evidence":%v}`, id, n == 0)
		event(5000+n, change(5000, id, "unknown", "alive", 0))
	}
	add(`{"bt":3,"kind":"fault","what":"pause service","id":"svc-000"}`)
	add(`{"bt":100000,"kind":"silent","id":"svc-000","cause":"pause service","pid":41}`)
	event(107000, change(107000, "svc-000", "alive", "suspect", 7200))
	event(112000, change(112000, "svc-000", "suspect", "dead", 12100))
	hook(112100, "svc-000", "suspect", "dead")
	add(`{"bt":130000,"kind":"beating","id":"svc-000"}`)
	event(132000, change(132000, "svc-000", "dead", "alive", 100))
	add(`{"bt":500000,"kind":"incident","name":"svc-000-0badf00d-107100","files":{"last.hb":512,"dump.json":900,"stacks.txt":80,"core":90000},` +
		`"summary":"x\n  complete\n","dump":"{\"process.pid\":41,\"x\":1}"}`)

	add(`{"bt":150000,"kind":"silent","id":"svc-001","cause":"crash service","pid":0}`)
	add(`{"bt":150001,"kind":"down","id":"svc-001","pid":42,"signal":11}`)
	event(150500, change(150500, "svc-001", "alive", "failed", 100))
	hook(150600, "svc-001", "alive", "failed")
	event(163000, change(163000, "svc-001", "failed", "dead", 12100))
	hook(163100, "svc-001", "failed", "dead")
	add(`{"bt":175000,"kind":"up","id":"svc-001","pid":43}`)
	add(`{"bt":175001,"kind":"beating","id":"svc-001"}`)
	event(177000, change(177000, "svc-001", "dead", "alive", 100))
	for _, kind := range []string{"core", "json", "stacks"} {
		add(`{"bt":500000,"kind":"file","name":"/spool/core/svc-001_42_20260101T000000.%s","bytes":100}`, kind)
	}

	add(`{"bt":200000,"kind":"hold","id":"svc-001","until":300000}`)
	event(200600, `{"time":"1","event":"hold","id":"svc-001","by":"root","reason":"soak"}`)
	add(`{"bt":200100,"kind":"silent","id":"svc-001","cause":"hold","pid":43}`)
	add(`{"bt":230000,"kind":"beating","id":"svc-001"}`)
	add(`{"bt":230001,"kind":"release","id":"svc-001"}`)
	event(230600, `{"time":"2","event":"hold_end","id":"svc-001","by":"root","reason":"soak"}`)
	add(`{"bt":250000,"kind":"hold","id":"svc-001","until":260000}`)
	event(250600, `{"time":"3","event":"hold","id":"svc-001","by":"root","reason":"soak"}`)
	add(`{"bt":250100,"kind":"silent","id":"svc-001","cause":"forget a hold","pid":43}`)
	event(260300, `{"time":"4","event":"hold_end","id":"svc-001","by":"root","reason":"soak"}`)
	event(273000, change(273000, "svc-001", "suspect", "dead", 12100))
	hook(273100, "svc-001", "suspect", "dead")
	add(`{"bt":295000,"kind":"beating","id":"svc-001"}`)
	event(297000, change(297000, "svc-001", "dead", "alive", 100))

	add(`{"bt":310000,"kind":"ask","id":"svc-000","name":"q1","verb":"ping"}`)
	add(`{"bt":310300,"kind":"answer","id":"svc-000","name":"q1","text":"q1 ok"}`)
	lines = append(lines, quote("wdping", 6000, `{"time":"x","event":"armed"}`))
	for n := range 30 {
		add(`{"bt":%d,"kind":"sample","tool":"hbwatch","id":"","pid":50,"rss_kb":%d,"fds":9}`, 10000*(n+1), 4000+n%3*100)
		add(`{"bt":%d,"kind":"files","dir":"/run/vigil/hb","count":3,"bytes":1024}`, 10000*(n+1))
	}
	add(`{"bt":500001,"kind":"end"}`)
	return lines
}

// without leaves out the lines that have all of these words.
func without(words ...string) func([]string) []string {
	return func(lines []string) []string {
		n := len(lines)
		lines = slices.DeleteFunc(lines, func(line string) bool {
			return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
		})
		if len(lines) == n {
			panic(fmt.Sprint("no line has ", words))
		}
		return lines
	}
}

func with(more ...string) func([]string) []string {
	return func(lines []string) []string { return append(lines, more...) }
}

func instead(old, now string) func([]string) []string {
	return func(lines []string) []string {
		all := strings.Join(lines, "\n")
		if !strings.Contains(all, old) {
			panic("no line has " + old)
		}
		return strings.Split(strings.ReplaceAll(all, old, now), "\n")
	}
}

// grow has the samples of a field grow.
func grow(format string, by int) func([]string) []string {
	return func(lines []string) []string {
		for n := range 30 {
			lines = append(lines, fmt.Sprintf(format, 10000*(n+1), by*n))
		}
		return lines
	}
}

const dead0 = `\"id\":\"svc-000\",\"from\":\"suspect\",\"to\":\"dead\"`

// told is an event with its place in the file of events.
func told(bt int, text string) []string {
	return []string{quote("event", bt, text), quote("kept", 1, text)}
}

// TestCheckerNotices: the checker has nothing to say of a sound host, and says
// what is wrong with any other. It is long: a table.
func TestCheckerNotices(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func([]string) []string
		finding string // "" for none
	}{
		{"sound", with(), ""},
		{"missed death", without(dead0), "missed death: svc-000 is silent from 100000 to 130000 (pause service)"},
		{"late death", instead(`"bt":112000`, `"bt":126000`), "missed death: svc-000"},
		{"late, but the watcher did not run", func(lines []string) []string {
			lines = with(`{"bt":109000,"kind":"out","tool":"hbwatch","how":"pause hbwatch"}`, `{"bt":112500,"kind":"in","tool":"hbwatch"}`)(lines)
			return instead(`112.10 svc-000`, `126.10 svc-000`)(instead(`"bt":112000`, `"bt":126000`)(lines))
		}, ""},
		{"missed crash", func(lines []string) []string {
			return without(`svc-001`, `x163000`)(without(`svc-001`, `x150500`)(lines))
		}, "missed death: svc-001 is silent from 150000"},
		{"forgotten hold never ends", without(`x273000`), "missed death: svc-001 is silent from 250100"},
		{"false death", with(told(50000, change(50000, "svc-001", "alive", "dead", 12100))...), "false death: svc-001 is dead at 50000: it was not silent for so long"},
		{"early death", instead(`"bt":112000`, `"bt":104000`), "false death: svc-000 is dead at 104000"},
		{"death of one that beats again", with(told(136000, change(136000, "svc-000", "alive", "dead", 12100))...), "false death: svc-000 is dead at 136000"},
		{"death while held", with(told(215000, change(215000, "svc-001", "held", "dead", 12100))...), "false death: svc-001 is dead at 215000: it is held"},
		{"death too soon after a hold", instead(`"bt":273000`, `"bt":268000`), "its clock began afresh"},
		{"failure without a cause", with(told(50000, change(50000, "svc-001", "alive", "failed", 1))...), "false death: svc-001 is failed at 50000: its process was there"},
		{"death after a stall", with(`{"bt":108000,"kind":"out","tool":"hbwatch","how":"freeze"}`, `{"bt":111500,"kind":"in","tool":"hbwatch"}`), "the watcher did not run"},
		{"death of before a stall, told after it", func(lines []string) []string {
			lines = with(`{"bt":111600,"kind":"out","tool":"hbwatch","how":"pause hbwatch"}`, `{"bt":113500,"kind":"in","tool":"hbwatch"}`)(lines)
			return instead(`112.10 svc-000`, `113.70 svc-000`)(instead(`"bt":112000`, `"bt":113600`)(lines))
		}, ""},
		{"dead for ever", without(`x132000`), "missed life: svc-000 beats again from 130000, and is still dead"},
		{"never alive", without(`svc-001`, `\"to\":\"alive\"`), "missed life: svc-001 was never alive"},
		{"hold not told", without(`\"time\":\"1\"`), "missed hold: svc-001: no event hold about 200000"},
		{"end of a hold not told", without(`\"time\":\"4\"`), "missed hold: svc-001: no event hold_end about 260000"},
		{"lost event", without(`"kept"`, dead0), "lost evidence: an event of 112000 is not in the file"},
		{"event lost on a full disk", func(lines []string) []string {
			lines = with(`{"bt":111000,"kind":"full","dir":"/spool"}`, `{"bt":113000,"kind":"room","dir":"/spool"}`)(lines)
			return without(`"kept"`, dead0)(lines)
		}, ""},
		{"half an event", with(quote("kept", 1, `{"time":"x","ev`)), "has a line that is none"},
		{"no hook", without(`"hook"`, "112.10 svc-000"), "lost evidence: svc-000: no hook ran"},
		{"no incident", without(`"incident"`), "lost evidence: svc-000, dead at 112000: no incident"},
		{"incident cut short", instead(`  complete`, `  cut short`), "is not complete"},
		{"no stacks", instead(`"stacks.txt":80,`, ``), "has no stacks.txt"},
		{"dump of another", instead(`process.pid\":41`, `process.pid\":47`), "the dump is of another process than 41"},
		{"no core of a crash", without(`svc-001_42_`, `.core`), "lost evidence: svc-001, pid 42, crashed at 150001: no .core"},
		{"empty core of a crash", instead(`.core","bytes":100`, `.core","bytes":0`), "no .core"},
		{"no answer", without(`"answer"`), `lost commands: svc-000 q1, "ping" at 310000`},
		{"no server", with(`{"bt":50000,"kind":"nobody serves","id":"svc-000"}`), "lost commands: svc-000: nobody serves"},
		{"memory", grow(`{"bt":%d,"kind":"sample","tool":"hbsend","id":"svc-000","pid":60,"rss_kb":%d,"fds":5}`, 200), "growth: hbsend svc-000 60: memory from"},
		{"descriptors", grow(`{"bt":%d,"kind":"sample","tool":"wdping","id":"","pid":61,"rss_kb":4000,"fds":%d}`, 1), "growth: wdping  61: descriptors from"},
		{"files", grow(`{"bt":%d,"kind":"files","dir":"/run/vigil/ctl","count":%d,"bytes":1}`, 1), "growth: /run/vigil/ctl: from"},
		{"too many files", with(`{"bt":9,"kind":"files","dir":"/spool/dump","count":99,"bytes":1}`), "growth: /spool/dump: 99 files"},
		{"starving", with(quote("wdping", 50000, `{"time":"x","event":"starving","id":"feed"}`)), "needless reset: wdping starves"},
		{"never armed", without(`"wdping"`), "wdping: it was never armed"},
		{"tool ends by itself", with(`{"bt":9,"kind":"died","tool":"hbsend","id":"svc-000","pid":7,"how":"exit status 2"}`), "end without reason: hbsend svc-000"},
		{"tool does not end", with(`{"bt":9,"kind":"stuck","tool":"diagfifo","id":"svc-000","pid":7}`), "no end: diagfifo"},
		{"process left", with(`{"bt":9,"kind":"runs","pid":7,"argv":"sh /bin/vigil-incident"}`), "left behind: process 7"},
		{"file left", with(`{"bt":9,"kind":"file","name":"/run/vigil/hold/.x.123","bytes":7}`), "left behind: file /run/vigil/hold/.x.123"},
		{"no end", without(`"end"`), "truth: it has no end"},
		{"nothing done", without(`"fault"`), "truth: nothing was done"},
		{"a service less", without(`"service"`, "svc-001"), "truth: 1 services, want 2"},
		{"no line", with("{"), "truth: line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "truth")
			if err := os.WriteFile(file, []byte(strings.Join(test.change(sound()), "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			said, code := judge(t, file)
			found := strings.Contains(said, "FINDING ")
			switch {
			case test.finding == "" && (found || code != 0):
				t.Errorf("exit status %d, want none and no finding:\n%s", code, said)
			case test.finding != "" && (code != 1 || !strings.Contains(said, "FINDING ") || !strings.Contains(said, test.finding)):
				t.Errorf("exit status %d, want 1 and %q:\n%s", code, test.finding, said)
			}
		})
	}
}

// TestCheckerIsIndependent: it shares nothing with what it judges.
func TestCheckerIsIndependent(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = "testdata/check"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(out)) {
		if first, _, _ := strings.Cut(strings.TrimSpace(name), "/"); strings.Contains(first, ".") || first == "vigil" && !strings.HasSuffix(name, "/soak/testdata/check\n") {
			t.Errorf("the checker uses %s", name)
		}
	}
	if !strings.Contains(string(out), "encoding/json\n") {
		t.Errorf("go list names nothing of what it uses: %s", out)
	}
}

func TestWrongUsage(t *testing.T) {
	if said, code := judge(t, filepath.Join(t.TempDir(), "none")); code != 111 {
		t.Errorf("a file that is not there: exit status %d: %s", code, said)
	}
}
