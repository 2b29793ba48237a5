package contract

import (
	"context"
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
	ctx, cancel := context.WithTimeout(c.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
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

// readiness: does the process have a handler for SIGUSR1?
const readiness = `
ready() {
	caught=$(sed -n 's/^SigCgt:[^0-9a-f]*//p' "/proc/$1/status")
	[ $((0x$caught & 0x200)) -ne 0 ]
}
`

func TestEmbeddingPage(t *testing.T) {
	gate.Need(t, "gcc", "python3")
	c := scripted(t, nil)
	got := c.paste("docs/embedding.md", 3, func(s string) string {
		// A second is enough for a person; a test waits for what it is meant for.
		s = strings.ReplaceAll(s, " & sleep 1\n", " &\nuntil ready $!; do sleep 0.1; done\n")
		return readiness + regexp.MustCompile(`sleep 1; cat (\S+);`).ReplaceAllString(s, "until [ -s $1 ]; do sleep 0.1; done; cat $1;")
	})
	if strings.Count(got, "\nend\n") != 3 {
		t.Errorf("output\n%s", got)
	}
	c.outside()
}

// outside builds the Go example of the page as a module of its own, as a user
// would. It has to do without a network.
func (c *chain) outside() {
	c.Helper()
	text := read(c.T, "docs/embedding.md")
	module := c.in("module")
	if err := os.Mkdir(module, 0o755); err != nil {
		c.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "go" {
			if err := os.WriteFile(filepath.Join(module, "main.go"), []byte(m[2]), 0o644); err != nil {
				c.Fatal(err)
			}
		}
	}
	edit := regexp.MustCompile(`(?m)^go mod edit .*vigil=/usr/src/vigil`).FindString(text)
	if edit == "" {
		c.Fatal("docs/embedding.md: no go mod edit")
	}
	build := exec.CommandContext(c.Context(), "/bin/sh", "-c", "go mod init example.org/web && "+
		strings.Replace(edit, "/usr/src/vigil", "$TREE", 1)+" && go build -o web .")
	build.Dir = module
	build.Env = append(os.Environ(), "TREE="+c.tree, "GOFLAGS=-mod=mod", "GOPROXY=off", "GONOSUMDB=*", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		c.Errorf("%v\n%s", err, output)
	}
}
