package condition

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/contract/executable"
	"vigil/pkg/hook"
)

// TestInquiry: what counts of a program's answers, by a clock that is moved.
func TestInquiry(t *testing.T) {
	const within = 30 * time.Second
	yes, no := hook.Answer{}, hook.Answer{Status: 3}
	lost := hook.Answer{Err: errors.Join(hook.ErrStart, syscall.EMFILE)}
	hangs := hook.Answer{Err: errors.New("stopped after 20s")}
	type step struct {
		at    int // seconds
		what  string
		a     hook.Answer
		since int // when it was asked
		want  string
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"yes, for as long as nothing else is heard", []step{
			{0, "", yes, 0, "no answer yet"}, {1, "hear", yes, 0, ""}, {500, "", yes, 0, ""},
		}},
		{"no at once, and yes again", []step{
			{1, "hear", yes, 0, ""}, {11, "hear", no, 10, "exit status 3"}, {12, "", yes, 0, "exit status 3"}, {21, "hear", yes, 20, ""},
		}},
		{"hangs", []step{{1, "hear", yes, 0, ""}, {30, "hear", hangs, 10, "stopped after 20s"}}},
		{"does not start: the last yes stands for its time", []step{
			{1, "hear", yes, 0, ""}, {11, "hear", lost, 10, ""}, {31, "hear", lost, 30, ""},
			{32, "hear", lost, 32, "no answer for 31s: start\ntoo many open files"}, {40, "hear", yes, 39, ""},
		}},
		{"does not start: no stays no", []step{{1, "hear", no, 0, "exit status 3"}, {11, "hear", lost, 10, "exit status 3"}}},
		{"never started", []step{{1, "hear", lost, 0, "start\ntoo many open files"}}},
		{"after a hold what was said under it does not count", []step{
			{1, "hear", yes, 0, ""}, {30, "hear", hangs, 10, "stopped after 20s"}, {100, "renew", yes, 0, ""},
			{101, "hear", no, 90, ""}, {130, "", yes, 0, ""}, {131, "hear", no, 130, "exit status 3"},
		}},
		{"after a hold it has twice its time", []step{
			{1, "hear", yes, 0, ""}, {100, "renew", yes, 0, ""}, {160, "", yes, 0, ""}, {161, "", yes, 0, "no answer yet"},
		}},
		{"a hold before the first yes", []step{{1, "hear", no, 0, "exit status 3"}, {100, "renew", yes, 0, "no answer yet"}}},
	} {
		var q inquiry
		for _, s := range tt.steps {
			now := time.Duration(s.at)*time.Second + time.Millisecond
			switch s.what {
			case "hear":
				q.hear(s.a, time.Duration(s.since)*time.Second+time.Millisecond, now)
			case "renew":
				q.renew(now)
			}
			if have := q.judge(now, within); have != s.want {
				t.Errorf("%s: at %d s: %q, want %q", tt.name, s.at, have, s.want)
			}
		}
	}
}

// script makes a program for -check.
func script(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ask")
	if err := executable.Write(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// clocks are the real ones.
func clocks() Clock { return Clock{Boot: boottime.Now(), WallNS: time.Now().UnixNano()} }

// until judges until the verdict on the first condition is of that state and
// has that reason.
func until(t *testing.T, s *Set, holder Holder, state State, reason string) Verdict {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		began := time.Now()
		v := s.Judge(clocks, holder, time.Hour)[0]
		if v.State == state && strings.Contains(v.Reason, reason) {
			return v
		}
		if took := time.Since(began); took > time.Minute {
			t.Fatalf("a look has taken %s", took)
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %+v, want state %d, %q", v, state, reason)
		}
	}
}

// TestCheck: a program that says yes, no, and nothing, with another condition beside
// it that goes on being judged.
func TestCheck(t *testing.T) {
	t.Setenv("VIGIL_DIR", t.TempDir())
	dir := os.Getenv("VIGIL_DIR")
	prog := script(t, `
echo "$HB_ID $#" >>"$VIGIL_DIR/runs"
[ ! -e "$VIGIL_DIR/hang" ] || exec sleep 1000
[ ! -e "$VIGIL_DIR/no" ] || exit 7
`)
	s, err := parse(t, "-check=web:"+prog+"=1s", "-exists="+dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	until(t, s, nil, Holds, "")
	touch := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	no := touch("no")
	until(t, s, nil, Fails, "exit status 7")
	if err := os.Remove(no); err != nil {
		t.Fatal(err)
	}
	until(t, s, nil, Holds, "")
	hang := touch("hang")
	until(t, s, nil, Fails, "stopped after 667ms")
	if v := s.Judge(clocks, nil, 0)[1]; v.State != Holds {
		t.Errorf("beside it: %+v", v)
	}
	// Under a hold nobody asks; after it, what was said before does not count.
	held := holder{"web": 1 << 62}
	until(t, s, held, Held, "")
	if err := os.Remove(hang); err != nil {
		t.Fatal(err)
	}
	until(t, s, nil, Holds, "")
	b, err := os.ReadFile(filepath.Join(dir, "runs"))
	if err != nil || !strings.HasPrefix(string(b), "web 0\nweb 0\n") {
		t.Errorf("runs %q, %v", b, err)
	}
}

// TestCheckEnds: Close leaves nothing behind, and nothing starts after it.
func TestCheckEnds(t *testing.T) {
	t.Setenv("VIGIL_DIR", t.TempDir())
	runs := filepath.Join(os.Getenv("VIGIL_DIR"), "runs")
	s, err := parse(t, "-check="+script(t, `echo $$ >>"$VIGIL_DIR/runs"; exec sleep 1000`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	until(t, s, nil, Waiting, "no answer yet")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if b, _ := os.ReadFile(runs); strings.HasSuffix(string(b), "\n") {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("it does not run")
		}
	}
	s.Close()
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
	if v := s.Judge(clocks, nil, 0)[0]; v.State != Fails || v.Reason != "not asked any more" {
		t.Errorf("%+v", v)
	}
}

func TestCheckRefused(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		plain:          "-check: " + plain + ": want an executable file: not a hook",
		plain + ".not": "-check: " + plain + ".not: hook: no such file or directory",
	} {
		s, err := parse(t, "-check="+path)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Check()
		if _, usage := errors.AsType[*cli.UsageError](err); !usage || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := os.Stat(plain + ".not"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestParseCheck(t *testing.T) {
	for _, tt := range []struct {
		word, id, program string
		within            time.Duration
	}{
		{"/usr/lib/ask", "", "/usr/lib/ask", 30 * time.Second},
		{"web:/usr/lib/ask", "web", "/usr/lib/ask", 30 * time.Second},
		{"web:/usr/lib/ask=5s", "web", "/usr/lib/ask", 5 * time.Second},
		{"/usr/lib/a=b", "", "/usr/lib/a=b", 30 * time.Second},
		{"/usr/lib/a=5s=30s", "", "/usr/lib/a=5s", 30 * time.Second},
		{"/usr/lib/ask=10ms", "", "", 0},
		{"web:", "", "", 0},
		{"=5s", "", "", 0},
	} {
		id, program, within, err := parseCheck(tt.word)
		if (err != nil) != (tt.program == "") || err == nil && (id != tt.id || program != tt.program || within != tt.within) {
			t.Errorf("%s: %q, %q, %s, %v", tt.word, id, program, within, err)
		}
	}
}
