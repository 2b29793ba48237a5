package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/pkg/gate"
)

// TestDocsAreWell: what the pages of docs/ link to exists, and their examples
// are shell.
func TestDocsAreWell(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("pages %q %v", pages, err)
	}
	for _, page := range pages {
		text := read(t, filepath.Join("docs", filepath.Base(page)))
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, "docs", m[1])); err != nil {
				t.Errorf("%s: links to %s: %v", page, m[1], err)
			}
		}
		for _, m := range place.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: names %s: %v", page, m[1], err)
			}
		}
		for _, example := range examples(text) {
			check := exec.CommandContext(t.Context(), "/bin/sh", "-n")
			check.Stdin = strings.NewReader(example)
			if output, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s in\n%s", page, err, output, example)
			}
		}
	}
}

// notHere are the programs of which the pages speak and which this suite does
// not promise.
var notHere = regexp.MustCompile(`(?m)^(perf|bpftrace|rr) `)

// paste runs the examples of a page, one after the other, in one shell.
func (c *chain) paste(page string, least int, edit func(string) string) string {
	c.Helper()
	script, count := "set -eu\n", 0
	for _, m := range fence.FindAllStringSubmatch(read(c.T, page), -1) {
		if m[1] == "sh" && !notHere.MatchString(m[2]) {
			script += edit(m[2])
			count++
		}
	}
	if count < least {
		c.Fatalf("%s: %d examples, want at least %d", page, count, least)
	}
	cmd := exec.CommandContext(c.Context(), "/bin/sh", "-c", script)
	cmd.Dir = c.tree
	cmd.Env = append(c.env, "PATH="+filepath.Join(c.tree, "dist")+":"+filepath.Join(c.tree, "scripts")+":"+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s: %v\n%s", page, err, output)
	}
	return string(output)
}

func TestDebuggingPage(t *testing.T) {
	gate.Need(t, "gdb", "strace", "ptrace")
	c := scripted(t, []string{"/bin/sh"})
	c.serve()
	c.watch()
	got := c.paste("docs/debugging.md", 6, func(s string) string { return strings.Replace(s, "svc=web\n", "svc=svc\n", 1) })
	for _, want := range []string{
		"vigil-debug: core: ", `"schema":"vigil.dump/1"`, "TracerPid:\t0", "#0 ", fmt.Sprintf("(LWP %d)", c.pid), "clock_nanosleep",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if alarms := c.alarms(); len(alarms) > 0 {
		t.Errorf("alarms: %q", alarms)
	}
}

func TestEmbeddingPage(t *testing.T) {
	gate.Need(t, "gcc", "python3")
	c := scripted(t, nil)
	got := c.paste("docs/embedding.md", 3, func(s string) string { return s })
	if strings.Count(got, "\nend\n") != 3 {
		t.Errorf("output\n%s", got)
	}
	for _, m := range fence.FindAllStringSubmatch(read(t, "docs/embedding.md"), -1) {
		if m[1] != "go" {
			continue
		}
		dir := filepath.Join(c.tree, "scripts/examples/page")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(m[2]), 0o644); err != nil {
			t.Fatal(err)
		}
		check := exec.CommandContext(t.Context(), "go", "vet", "./scripts/examples/page")
		check.Dir = c.tree
		if output, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	}
}
