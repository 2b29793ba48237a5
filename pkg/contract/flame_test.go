package contract

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/gate"
)

const flameSample = "srv;main;sleeping;futex;futex_wait 30\nsrv;a<b&c \"d\";running 60\nsrv;main;disk-sleep;read;folio_wait 10\n" +
	"srv;main;sleeping;futex;futex_wait 0\n\nsrv;io worker;sleeping 100\n"

func TestFlameGraph(t *testing.T) {
	gate.Need(t, "shells")
	sample := filepath.Join(t.TempDir(), "a=b.folded")
	if err := os.WriteFile(sample, []byte(flameSample), 0o600); err != nil {
		t.Fatal(err)
	}
	first := ""
	for awk, dir := range awks(t) {
		for _, shell := range gate.Shells() {
			argv := append(slices.Clone(shell), filepath.Join(root, "scripts/flame-graph"), "-w", "1020", sample)
			got := run(t, []string{"PATH=" + dir + os.Getenv("PATH")}, argv...)
			elements, words, err := svg(got.stdout)
			if got.code != 0 || got.stderr != "" || err != nil {
				t.Fatalf("%s, %s: exit status %d, %v\n%s", shell, awk, got.code, err, got.stderr)
			}
			for _, want := range []string{
				"srv", "200 samples", "srv: 200 of 200, 100.0 %", "main: 40 of 200, 20.0 %", `a<b&c "d": 60 of 200, 30.0 %`,
				"io worker: 100 of 200, 50.0 %", "sleeping: 30 of 200, 15.0 %", "folio_wait: 10 of 200, 5.0 %",
			} {
				if !strings.Contains(words, want+"\n") {
					t.Errorf("%s, %s: the picture has no text %q", shell, awk, want)
				}
			}
			// One box for each frame that differs, and the paper. The widths add up:
			// 1000 pixels for 200 samples.
			if elements["svg"] != 1 || elements["rect"] != 1+12 {
				t.Errorf("%s, %s: %v", shell, awk, elements)
			}
			for _, want := range []string{`width="1000.0" height="17"`, `x="310.0" y="94" width="500.0"`, `width="300.0" height="17" fill="#e34a33"`, `fill="#8856a7"`} {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%s, %s: the picture lacks %s:\n%s", shell, awk, want, got.stdout)
				}
			}
			if first == "" {
				first = got.stdout
			}
			if got.stdout != first {
				t.Errorf("%s, %s: another picture", shell, awk)
			}
		}
	}
}

func TestFlameGraphRefuses(t *testing.T) {
	graph := filepath.Join(root, "scripts/flame-graph")
	for awk, dir := range awks(t) {
		for _, test := range []struct {
			name, text string
			code       int
			stderr     string
		}{
			{"nothing", "", 1, "nothing to draw"},
			{"only zeroes", "a;b 0\n", 1, "nothing to draw"},
			{"no count", "a;b 1\na;b\n", 100, `.folded:2: want "frame;frame count"`},
			{"a word for the count", "a;b x\n", 100, ".folded:1: want"},
			{"negative", "a;b -1\n", 100, ".folded:1: want"},
			{"only a count", "7\n", 100, ".folded:1: want"},
			{"an endless count", "a " + strings.Repeat("9", 40) + "\n", 100, ".folded:1: want"},
		} {
			file := filepath.Join(t.TempDir(), "x.folded")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := run(t, []string{"PATH=" + dir + os.Getenv("PATH")}, graph, file)
			if got.code != test.code || got.stdout != "" || !strings.Contains(got.stderr, test.stderr) {
				t.Errorf("%s, %s: %+v", test.name, awk, got)
			}
		}
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"/nonexistent/x"}, 111, "/nonexistent/x: cannot be read"},
		{[]string{"a", "b"}, 100, "unexpected argument: b"},
		{[]string{"-w", "20"}, 100, "-w 20: want 200 to 10000"},
		{[]string{"-w", "0x300"}, 100, "-w 0x300: want 200 to 10000"},
		{[]string{"-q"}, 100, "unknown flag: -q"},
	} {
		if got := run(t, nil, append([]string{graph}, test.args...)...); got.code != test.code || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%q: %+v", test.args, got)
		}
	}
}
