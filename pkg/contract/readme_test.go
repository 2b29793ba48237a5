package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
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
		case strings.Contains(example, "docker run"):
			// TestReadmeContainer
		case strings.Contains(example, "hbsend -interval"):
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
	got := run(t, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + builtPath(t), "VIGIL_DIR="}, "/bin/sh", "-c", script+finish)
	if got.code != 0 {
		t.Errorf("exit status %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{"alive", "nonce=", "it left with 139", "SIGSEGV", "backup"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s%s", want, got.stdout, got.stderr)
		}
	}
	for _, not := range []string{"saved", "a run is late"} {
		if regexp.MustCompile("(?m)^" + not).MatchString(got.stdout) {
			t.Errorf("%q in\n%s", not, got.stdout)
		}
	}
	sweep(t, dir)
}

// builtPath is a PATH with the programs and the scripts for users.
func builtPath(t *testing.T) string {
	built := tree.Built(t)
	return filepath.Join(built, "dist") + ":" + filepath.Join(built, "scripts") + ":" + os.Getenv("PATH")
}

// docker is as much of docker(1) as the README needs: a container that is
// read-only for real, but for one file.
const docker = `#!/bin/sh
set -eu
[ "$1 $2 $3 $4 $6" = "run --rm --read-only -v my-image" ]
export volume="$5" root="$HOME/image" program="$(command -v hbsend)"
shift 6
[ "$1" = hbsend ]
mkdir -p "$root/bin" "$root/proc"
cp "$program" "$root/bin/"
: >"$root${volume#*:}"
exec unshare -m sh -euc '
mount --bind "$root" "$root"
mount --bind "${volume%:*}" "$root${volume#*:}"
mount --bind /proc "$root/proc"
mount -o remount,ro,bind "$root"
! touch "$root/x" 2>/dev/null
exec chroot "$root" "/bin/$@"' sh "$@"
`

func TestReadmeContainer(t *testing.T) {
	gate.Need(t, "root")
	script := ""
	for _, example := range examples(read(t, "README.md")) {
		if strings.Contains(example, "docker run") {
			script += example
		}
	}
	if script == "" {
		t.Fatal("README.md: no example runs a container")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "hb"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := executable.Write(filepath.Join(dir, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	got := run(t, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + dir + ":" + builtPath(t), "VIGIL_DIR=" + dir}, "/bin/sh", "-euc", script)
	beat, _ := os.ReadFile(filepath.Join(dir, "hb/box.hb"))
	if got.code != 0 || !strings.Contains(got.stdout, "box") || !strings.Contains(string(beat), `"seq":3`) {
		t.Errorf("exit status %d, %q\n%s%s", got.code, beat, got.stdout, got.stderr)
	}
}

// outline is what a translation has to share with its original: the levels of
// its headings, its links, its tables row by row, and its examples without their
// comments.
func outline(text string) (lines []string) {
	comment := regexp.MustCompile(`(?m)[ \t]*#(?:[ ].*)?$`)
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		lines = append(lines, "example: "+comment.ReplaceAllString(m[2], ""))
	}
	for line := range strings.Lines(fence.ReplaceAllString(text, "")) {
		switch {
		case strings.HasPrefix(line, "#"):
			mark, _, _ := strings.Cut(line, " ")
			lines = append(lines, mark)
		case strings.HasPrefix(line, "|"):
			lines = append(lines, "row of "+strconv.Itoa(strings.Count(line, "|")))
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			lines = append(lines, "link: "+m[1])
		}
	}
	return lines
}

// TestReadmeTranslated: the Chinese text has all that the English one has.
func TestReadmeTranslated(t *testing.T) {
	want, got := outline(read(t, "README.md")), outline(read(t, "README.zh-CN.md"))
	for i := range max(len(want), len(got)) {
		a, b := "nothing", "nothing"
		if i < len(want) {
			a = want[i]
		}
		if i < len(got) {
			b = got[i]
		}
		if a != b && !(a == "link: README.zh-CN.md" && b == "link: README.md") {
			t.Fatalf("README.md has %s\nREADME.zh-CN.md has %s", a, b)
		}
	}
}

func TestReadmePatterns(t *testing.T) {
	text := "# x\n```sh\na\nb\n```\ntext [l](docs/a.md#b) [w](https://x.y/) `scripts/demo` `a`\n```\nno\n```\n"
	if got := examples(text); len(got) != 1 || got[0] != "a\nb\n" {
		t.Errorf("examples = %q", got)
	}
	if got := harvest(text, link); len(got) != 1 || got[0] != "docs/a.md" {
		t.Errorf("links = %q", got)
	}
	if got := outline(text); len(got) != 4 || got[0] != "example: a\nb\n" || got[2] != "#" || got[3] != "link: docs/a.md" {
		t.Errorf("outline = %q", got)
	}
	if got := harvest(text, place); len(got) != 1 || got[0] != "scripts/demo" {
		t.Errorf("places = %q", got)
	}
}
