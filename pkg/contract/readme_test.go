package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

var (
	fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	link  = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	place = regexp.MustCompile("`((?:scripts|cmd|pkg|docs|\\.ci)/[\\w./-]+)`")
)

// examples returns the shell examples of a Markdown text.
func examples(text string) (found []string) {
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "sh" || m[1] == "shell" || m[1] == "console" {
			found = append(found, m[2])
		}
	}
	return found
}

func TestReadme(t *testing.T) {
	text := read(t, "README.md")
	for _, word := range append(tools(t), "scripts/demo", "scripts/test", "scripts/build", "scripts/install", "100", "111") {
		if !strings.Contains(text, word) {
			t.Errorf("README.md: says nothing of %s", word)
		}
	}
	for _, pattern := range []*regexp.Regexp{link, place} {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("README.md: names %s: %v", m[1], err)
			}
		}
	}
}

// TestReadmeExamplesParse: every example is shell.
func TestReadmeExamplesParse(t *testing.T) {
	for _, example := range examples(read(t, "README.md")) {
		check := exec.CommandContext(t.Context(), "/bin/sh", "-n")
		check.Stdin = strings.NewReader(example)
		if output, err := check.CombinedOutput(); err != nil {
			t.Errorf("README.md: %v: %s in\n%s", err, output, example)
		}
	}
}

// between waits until what the wiring started serves, as a person who pastes
// the next example would without noticing; finish ends it.
const (
	between = `
n=0
until [ -s "$VIGIL_DIR/hb/web.hb" ] && [ -p "$VIGIL_DIR/ctl/web/ctl" ] && grep -q '"to":"alive"' "$VIGIL_DIR/events"; do
	n=$((n + 1))
	[ "$n" -lt 600 ]
	sleep 0.1
done
set -x
`
	finish = `
set +x
until [ -s "$VIGIL_DIR/ctl/web/last.dump" ]; do sleep 0.1; done
jobs -p >"$VIGIL_DIR/jobs" # not in $(): a subshell has no jobs
kill $(cat "$VIGIL_DIR/jobs")
wait
`
)

// TestReadmeWiring pastes the wiring, and then what can be done "at any time",
// into a shell with a home of its own.
func TestReadmeWiring(t *testing.T) {
	script := "set -eu\n"
	wired := false
	for _, example := range examples(read(t, "README.md")) {
		switch {
		case strings.Contains(example, "corecap pattern -set"):
			// The whole machine's; the tests of corecap set it, and put it back.
		case strings.Contains(example, "hbsend -"):
			script += example + between
			wired = true
		case wired:
			script += example
		}
	}
	if !wired {
		t.Fatal("README.md: no example starts hbsend")
	}
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && scope[0] != '0' && os.Geteuid() != 0 {
		script = regexp.MustCompile(`(?m)^corecap .*`).ReplaceAllString(script, ":")
	}
	dir := t.TempDir()
	path := filepath.Join(tree.Built(t), "dist") + ":" + os.Getenv("PATH")
	got := run(t, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + path, "VIGIL_DIR="}, "/bin/sh", "-c", script+finish)
	if got.code != 0 {
		t.Errorf("exit status %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if !strings.Contains(got.stdout, "alive") || !strings.Contains(got.stdout, "nonce=") {
		t.Errorf("neither alive nor a nonce in\n%s", got.stdout)
	}
	sweep(t, dir)
}

func TestReadmePatterns(t *testing.T) {
	text := "# x\n```sh\na\nb\n```\ntext [l](docs/a.md#b) [w](https://x.y/) `scripts/demo` `a`\n```\nno\n```\n"
	if got := examples(text); len(got) != 1 || got[0] != "a\nb\n" {
		t.Errorf("examples = %q", got)
	}
	if got := harvest(text, link); len(got) != 1 || got[0] != "docs/a.md" {
		t.Errorf("links = %q", got)
	}
	if got := harvest(text, place); len(got) != 1 || got[0] != "scripts/demo" {
		t.Errorf("places = %q", got)
	}
}
