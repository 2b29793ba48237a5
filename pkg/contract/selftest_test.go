package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/executable"
)

// sound is a small tree that scripts/test has to find nothing wrong with.
var sound = map[string]string{
	"go.mod": "module vigil\n\ngo 1.26.0\n",
	"pkg/x/x.go": `// Package x is a sample.
package x

// Double gives 2n.
func Double(n int) int { return 2 * n }
`,
	"pkg/x/x_test.go": `package x

import "testing"

func TestDouble(t *testing.T) {
	t.Log("said in passing")
	if Double(2) != 4 {
		t.Error("no")
	}
}

func TestAbsent(t *testing.T) { t.Skip("gate moon: absent: it is day") }

func FuzzDouble(f *testing.F) {
	f.Fuzz(func(t *testing.T, n int) {
		if Double(n)%2 != 0 {
			t.Error("odd")
		}
	})
}
`,
}

const failing = "package x\n\nimport \"testing\"\n\nfunc TestWrong(t *testing.T) { t.Error(\"said in failing\") }\n"

const leaving = `package x

import (
	"os"
	"testing"
)

func TestLeaves(t *testing.T) {
	if err := os.WriteFile(os.TempDir()+"/crumb", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
`

const straying = `package x

import (
	"os/exec"
	"syscall"
	"testing"
)

func TestStrays(t *testing.T) {
	stray := exec.Command("sleep", "3600")
	stray.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
}
`

const crashing = `package x

import "testing"

func FuzzLong(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2 {
			t.Error("too long")
		}
	})
}
`

// strayLine is how scripts/test names a process that a test left behind.
var strayLine = regexp.MustCompile(`(?m)^process (\d+): sleep 3600 $`)

// breakages are runs of scripts/test over the sound tree in which one file was
// added or replaced.
var breakages = []struct {
	name       string
	file, text string
	steps      string
	code       int
	said       []string
	unsaid     string
}{
	{name: "sound", steps: "format vet shell unit fuzz",
		said:   []string{"scripts/test: ok: 2 tests passed,", ", 1 fuzz functions,", "unit: TestAbsent: gate moon: absent: it is day"},
		unsaid: "said in passing"},
	{name: "format", file: "pkg/x/odd.go", text: "package   x\n", steps: "format", code: 1,
		said: []string{"pkg/x/odd.go\n", "scripts/test: FAIL: format;"}},
	{name: "vet", file: "pkg/x/odd.go", text: "package x\n\nvar n int = nil\n", steps: "vet format", code: 1,
		said: []string{"scripts/test: FAIL: vet;", "scripts/test: format: ok"}},
	{name: "shell", file: "scripts/odd", text: "#!/bin/sh\nif\n", steps: "shell", code: 1,
		said: []string{"scripts/test: FAIL: shell;"}},
	{name: "unit", file: "pkg/x/odd_test.go", text: failing, steps: "unit", code: 1,
		said: []string{"--- FAIL: TestWrong", "\nfailed: TestWrong: odd_test.go:5: said in failing\nFAIL\tvigil/pkg/x", "scripts/test: FAIL: unit; 2 tests passed"}, unsaid: "said in passing"},
	{name: "unit that does not build", file: "pkg/x/odd_test.go", text: "package x\n\nvar n int = nil\n", steps: "unit", code: 1,
		said: []string{"odd_test.go:3", "scripts/test: FAIL: unit; 0 tests passed"}},
	{name: "file left behind", file: "pkg/x/odd_test.go", text: leaving, steps: "unit", code: 1,
		said: []string{"left behind by the tests:\n", "/crumb\n", "scripts/test: FAIL: unit; 3 tests passed"}},
	{name: "process left behind", file: "pkg/x/odd_test.go", text: straying, steps: "unit", code: 1,
		said: []string{"left behind by the tests:\n", ": sleep 3600", "scripts/test: FAIL: unit; 3 tests passed"}},
	{name: "fuzz", file: "pkg/x/odd_test.go", text: crashing, steps: "fuzz", code: 1,
		said: []string{"too long", "scripts/test: FAIL: fuzz;"}},
	{name: "nothing to fuzz", file: "pkg/x/x_test.go", text: "package x\n", steps: "fuzz", code: 1,
		said: []string{"no fuzz function passed", "scripts/test: FAIL: fuzz;"}},
	{name: "nothing to test", file: "pkg/x/x_test.go", text: "package x\n", steps: "unit", code: 1,
		said: []string{"scripts/test: FAIL: unit; 0 tests passed"}},
	{name: "unknown step", steps: "format dance", code: 100, unsaid: "format: ok"},
}

// TestTestNotices: scripts/test passes the sound tree, and fails, at the right
// step and saying why, as soon as one file of it is wrong.
func TestTestNotices(t *testing.T) {
	for _, test := range breakages {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range files(t) {
				if name == "scripts/test" || name == ".ci/run" || strings.HasPrefix(name, "scripts/test.d/") {
					plant(t, dir, name, read(t, name))
				}
			}
			for name, text := range sound {
				plant(t, dir, name, text)
			}
			if test.file != "" {
				plant(t, dir, test.file, test.text)
			}
			argv := append([]string{filepath.Join(dir, "scripts/test"), "-n"}, strings.Fields(test.steps)...)
			got := run(t, []string{"VIGIL_TEST_MUST="}, argv...)
			for _, pid := range harvest(got.stdout, strayLine) {
				if n, err := strconv.Atoi(pid); err == nil {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
			if got.code != test.code {
				t.Errorf("exit status %d, want %d", got.code, test.code)
			}
			for _, text := range test.said {
				if !strings.Contains(got.stdout+got.stderr, text) {
					t.Errorf("did not say %q", text)
				}
			}
			if test.unsaid != "" && strings.Contains(got.stdout, test.unsaid) {
				t.Errorf("said %q", test.unsaid)
			}
			if t.Failed() {
				t.Log(got.stdout + got.stderr)
			}
		})
	}
}

func plant(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := executable.Write(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
