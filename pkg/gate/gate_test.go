package gate

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	table := []need{
		{"here", func() error { return nil }},
		{"gone", func() error { return errors.New("not installed") }},
		{"lost", func() error { return errors.New("taken away") }},
	}
	tests := []struct {
		name   string
		must   string
		needs  []string
		absent string
		broken string
	}{
		{name: "nothing asked"},
		{name: "present", needs: []string{"here"}},
		{name: "present and promised", must: "here", needs: []string{"here"}},
		{name: "absent", needs: []string{"here", "gone"}, absent: "gate gone: absent: not installed"},
		{name: "first absent named", needs: []string{"gone", "lost"}, absent: "gate gone: absent: not installed"},
		{name: "other promised", must: "here lost", needs: []string{"gone"}, absent: "gate gone: absent: not installed"},
		{name: "promise broken", must: "gone", needs: []string{"gone"}, broken: "gate gone: promised by VIGIL_TEST_MUST, but absent: not installed"},
		{name: "broken promise wins", must: "here, lost", needs: []string{"gone", "lost"}, broken: "gate lost: promised by VIGIL_TEST_MUST, but absent: taken away"},
		{name: "unknown need", needs: []string{"qemu"}, broken: "gate qemu: no such gate"},
		{name: "unknown promise", must: "here,qemu", needs: []string{"here"}, broken: "gate qemu: no such gate (in VIGIL_TEST_MUST)"},
		{name: "separators", must: ",here\n\there, ", needs: []string{"here"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			absent, broken := judge(table, test.must, test.needs)
			if absent != test.absent || broken != test.broken {
				t.Errorf("judge = (%q, %q), want (%q, %q)", absent, broken, test.absent, test.broken)
			}
		})
	}
}

// A recorder notes how a test was ended, and ends its goroutine as testing.T
// would.
type recorder struct {
	testing.TB
	skip, fatal string
}

type ended struct{}

func (r *recorder) Helper()           {}
func (r *recorder) Skip(args ...any)  { r.skip = args[0].(string); panic(ended{}) }
func (r *recorder) Fatal(args ...any) { r.fatal = args[0].(string); panic(ended{}) }

// ask calls Need as a test would and returns how that test was ended.
func ask(t *testing.T, names ...string) (r *recorder, returned bool) {
	r = &recorder{TB: t}
	defer func() {
		if got := recover(); got != nil && got != (ended{}) {
			panic(got)
		}
	}()
	Need(r, names...)
	return r, true
}

func TestNeedEndsTheTest(t *testing.T) {
	kept := needs
	defer func() { needs = kept }()
	needs = []need{{"gone", func() error { return errors.New("no") }}}

	for _, test := range []struct {
		must        string
		names       []string
		skip, fatal string
	}{
		{"", nil, "", ""},
		{"", []string{"gone"}, "gate gone: absent: no", ""},
		{"gone", []string{"gone"}, "", "gate gone: promised by VIGIL_TEST_MUST, but absent: no"},
	} {
		t.Setenv(MustEnv, test.must)
		r, returned := ask(t, test.names...)
		if r.skip != test.skip || r.fatal != test.fatal || returned != (r.skip+r.fatal == "") {
			t.Errorf("must %q, needs %q: skip %q fatal %q returned %v, want %q and %q",
				test.must, test.names, r.skip, r.fatal, returned, test.skip, test.fatal)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range needs {
		if n.name != strings.ToLower(n.name) || len(split(n.name)) != 1 {
			t.Errorf("gate %q: not one lower-case word", n.name)
		}
		if seen[n.name] {
			t.Errorf("gate %s: twice in the table", n.name)
		}
		seen[n.name] = true
	}
}

// TestProbesNotice runs the probes themselves, past once, where their thing
// is absent: a probe that cannot say no is no gate.
func TestProbesNotice(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	probes := map[string]func() error{
		"command": command("gdb", "--version"), "compiler": compiler, "shells": shells,
	}
	for name, probe := range probes {
		if err := probe(); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%s with an empty PATH: %v, want %v", name, err, exec.ErrNotFound)
		}
	}
	if err := tmpfs(); err == nil {
		t.Error("tmpfs without mount(8): no complaint")
	}
	if err := root(); (err == nil) != (os.Geteuid() == 0) {
		t.Errorf("root as uid %d: %v", os.Geteuid(), err)
	}
}

func TestExplainSaysTheFirstLine(t *testing.T) {
	err := explain([]byte("mount: permission denied\nmore\n"), errors.New("exit status 32"))
	if want := "exit status 32: mount: permission denied"; err == nil || err.Error() != want {
		t.Errorf("explain = %v, want %s", err, want)
	}
	if err := explain([]byte("noise"), nil); err != nil {
		t.Errorf("explain of success = %v", err)
	}
}
