package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testEnv() (env *Env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	log := NewLog("prog", stderr)
	log.now = func() int64 { return 1763820000123 }
	return &Env{
		Tool: Tool{
			Name: "prog", Synopsis: "prog [flags] FILE", Summary: "Does one thing.",
			Exits: []Exit{{ExitOK, "done"}, {ExitUsage, "wrong usage"}},
		},
		Stdout: stdout, Stderr: stderr, Log: log,
	}, stdout, stderr
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain text~":   "plain text~",
		"a\nb\x1b[31m":  `a\x0ab\x1b[31m`,
		`back\slash`:    `back\\slash`,
		"\x7f\x00é\xff": `\x7f\x00\xc3\xa9\xff`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLogText(t *testing.T) {
	env, _, stderr := testEnv()
	env.Log.Warn("x.hb: write: no\nspace", "retry", time.Second, "n", 3)
	env.Log.Debug("unheard")
	if want := "prog: warning: x.hb: write: no\\x0aspace retry=1s n=3\n"; stderr.String() != want {
		t.Errorf("have %q\nwant %q", stderr, want)
	}
}

func TestLogJSON(t *testing.T) {
	env, _, stderr := testEnv()
	if _, done := env.Parse(env.Flags(), []string{"-log", "json", "-v"}); done {
		t.Fatal(stderr)
	}
	env.Log.Debug("a \"b\"", "n", 3, "i", int64(-4), "u", uint64(5), "ok", true, "err", errors.New("no\tway"))
	want := `{"time":"2025-11-22T14:00:00.123Z","level":"debug","prog":"prog","msg":"a \"b\"","fields":{"n":3,"i":-4,"u":5,"ok":true,"err":"no\\x09way"}}` + "\n"
	if stderr.String() != want {
		t.Errorf("have %s\nwant %s", stderr, want)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, args     string
		code           int
		done           bool
		stdout, stderr string
	}{
		{"nothing", "", 0, false, "", ""},
		{"version", "-version", 0, true, "prog devel ", ""},
		{"help", "-h", 0, true, "usage: prog [flags] FILE\nDoes one thing.\n", ""},
		{"long help", "--help", 0, true, "exit codes:\n  0    done\n  100  wrong usage\n", ""},
		{"unknown flag", "-nope", 100, true, "", "prog: error: flag provided but not defined: -nope\nprog: error: usage: prog [flags] FILE\n"},
		{"bad log", "-log=xml", 100, true, "", `prog: error: invalid value "xml" for flag -log: want text or json`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, stdout, stderr := testEnv()
			code, done := env.Parse(env.Flags(), strings.Fields(tt.args))
			if code != tt.code || done != tt.done {
				t.Errorf("code %d, done %v", code, done)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout %q", stdout)
			}
			if !strings.HasPrefix(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("stderr %q", stderr)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	env, _, stderr := testEnv()
	env.Parse(env.Flags(), []string{"-q"})
	env.Log.Info("unheard")
	env.Log.Warn("heard")
	if stderr.String() != "prog: warning: heard\n" {
		t.Errorf("have %q", stderr)
	}
}

func TestFail(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{fs.ErrPermission, ExitSystem},
		{Usagef("no %s", "FILE"), ExitUsage},
		{fmt.Errorf("flag: %w", Usagef("no FILE")), ExitUsage},
	} {
		env, _, stderr := testEnv()
		if got := env.Fail(tt.err); got != tt.want || stderr.String() != "prog: error: "+tt.err.Error()+"\n" {
			t.Errorf("%v: code %d, said %q", tt.err, got, stderr)
		}
	}
}

func TestPrintToClosedPipe(t *testing.T) {
	env, _, stderr := testEnv()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	env.Stdout = w
	if code := env.Print([]byte("x")); code != ExitSystem || stderr.String() != "prog: error: stdout: broken pipe\n" {
		t.Errorf("code %d, said %q", code, stderr)
	}
}

func TestReady(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := syscall.Dup(int(w.Fd())) // Signal closes it
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	env, _, stderr := testEnv()
	flags := env.Flags()
	ready := env.ReadyFlag(flags)
	if code, done := env.Parse(flags, []string{"-ready-fd", strconv.Itoa(fd)}); done {
		t.Fatal(code, stderr)
	}
	for range 2 {
		if err := ready.Signal(); err != nil {
			t.Error(err)
		}
	}
	b := make([]byte, 8)
	n, err := r.Read(b)
	if string(b[:n]) != "\n" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

func TestReadyRefuses(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for arg, want := range map[string]string{
		"x":                          "want a descriptor number",
		"0":                          "want a descriptor number",
		"9999":                       "descriptor is not open",
		strconv.Itoa(int(null.Fd())): "descriptor is not open for writing",
	} {
		env, _, stderr := testEnv()
		flags := env.Flags()
		env.ReadyFlag(flags)
		if code, _ := env.Parse(flags, []string{"-ready-fd", arg}); code != ExitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("-ready-fd %s: code %d, said %q", arg, code, stderr)
		}
	}
}
