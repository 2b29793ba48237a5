package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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

// TestReadmeWiring: an example wires the tools together, and every example is
// shell that parses.
func TestReadmeWiring(t *testing.T) {
	wired := false
	for _, example := range examples(read(t, "README.md")) {
		check := exec.CommandContext(t.Context(), "/bin/sh", "-n")
		check.Stdin = strings.NewReader(example)
		if output, err := check.CombinedOutput(); err != nil {
			t.Errorf("README.md: %v: %s in\n%s", err, output, example)
		}
		all := true
		for _, tool := range []string{"hbsend", "hbwatch", "wdping"} {
			all = all && strings.Contains(example, tool)
		}
		wired = wired || all
	}
	if !wired {
		t.Error("README.md: no example that wires hbsend, hbwatch and wdping together")
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
	if got := harvest(text, place); len(got) != 1 || got[0] != "scripts/demo" {
		t.Errorf("places = %q", got)
	}
}
