// Package gate decides what becomes of a test whose needs may be absent.
//
// At a desk such a test is skipped, and the skip names the gate and the
// reason, so that scripts/test can list what was not tried. Where the
// environment promised the thing (VIGIL_TEST_MUST), its absence fails the
// test: otherwise a runner that lost gdb, or its root, would stay green while
// testing nothing.
//
// The package is for tests only; no program imports it.
package gate

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// MustEnv names the environment variable that lists, separated by commas or
// spaces, the gates whose absence is a failure.
const MustEnv = "VIGIL_TEST_MUST"

// A need is one thing that a test may ask for. Its probe returns nil when the
// thing is there, else a short phrase that says why not. Probes run at most
// once in a process.
type need struct {
	name  string
	probe func() error
}

// needs is the one table of gates: Need, the check of VIGIL_TEST_MUST and the
// package's own test read it.
var needs = []need{
	{"root", once(root)},
	{"ptrace", once(ptrace)},
	{"tmpfs", once(tmpfs)},
	{"shells", once(shells)},
	{"setpriv", once(command("setpriv", "--version"))},
	{"gcc", once(compiler)},
	{"gcc-arm64", once(cross)},
	{"gdb", once(command("gdb", "--version"))},
	{"strace", once(command("strace", "-V"))},
	{"elfutils", once(command("eu-stack", "--version"))},
	{"python3", once(command("python3", "--version"))},
	{"binutils", once(command("readelf", "--version"))},
	{"zsh", once(command("zsh", "--version"))},
	{"shellcheck", once(command("shellcheck", "--version"))},
	{"shfmt", once(command("shfmt", "--version"))},
	{"mandoc", once(command("mandoc", "-T", "utf8", "/dev/null"))},
	{"netcat", once(netcat)},
	{"runit", once(command("chpst", "true"))},
	{"s6", once(command("s6-setsid", "true"))},
	{"openrc", once(command("openrc", "--version"))},
	{"inits", once(inits)},
	{"k8s-api", once(command("go", "mod", "download", "k8s.io/api@v0.31.0"))},
	{"promtool", once(command("promtool", "--version"))},
	{"kcore", once(kcore)},
	{"precopy", once(precopy)},
	{"redis", once(command("redis-check-rdb", "--version"))},
	{"nginx", once(command("nginx", "-v"))},
	{"systemd", once(systemd)},
	{"dpkg", once(command("dpkg", "--version"))},
	{"rpm", once(command("sh", "-c", "command -v rpm2cpio && command -v cpio"))},
	{"packager", once(packager)},
	{"qemu-user", once(foreign)},
	{"vm", once(machine("amd64"))},
	{"vm-arm64", once(machine("arm64"))},
}

// Names lists all gates, in the table's order.
func Names() []string {
	names := make([]string, len(needs))
	for i, n := range needs {
		names[i] = n.name
	}
	return names
}

// Need returns when every named gate is open. Otherwise it ends the test: as
// a failure when VIGIL_TEST_MUST promises one of the absent things, else as a
// skip whose text is "gate NAME: absent: WHY". A name that the table does not
// know fails the test, whether the caller or VIGIL_TEST_MUST brings it: a
// misspelt promise must not pass for a kept one.
//
// It must be called from the goroutine that runs the test.
func Need(t testing.TB, names ...string) {
	t.Helper()
	absent, broken := judge(needs, os.Getenv(MustEnv), names)
	if broken != "" {
		t.Fatal(broken)
	}
	if absent != "" {
		t.Skip(absent)
	}
}

// judge returns why a test with these needs cannot run (absent) or must fail
// (broken); both are empty when it can run. A broken promise wins over a mere
// absence, in whatever order the needs are named.
func judge(table []need, must string, names []string) (absent, broken string) {
	promised := map[string]bool{}
	for _, name := range split(must) {
		if find(table, name) == nil {
			return "", fmt.Sprintf("gate %s: no such gate (in %s)", name, MustEnv)
		}
		promised[name] = true
	}
	for _, name := range names {
		n := find(table, name)
		if n == nil {
			return "", fmt.Sprintf("gate %s: no such gate", name)
		}
		err := n.probe()
		switch {
		case err == nil:
		case promised[name]:
			return "", fmt.Sprintf("gate %s: promised by %s, but absent: %v", name, MustEnv, err)
		case absent == "":
			absent = fmt.Sprintf("gate %s: absent: %v", name, err)
		}
	}
	return absent, ""
}

func find(table []need, name string) *need {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// once keeps a probe's answer: tests run in parallel, and some probes start
// processes.
func once(probe func() error) func() error { return sync.OnceValue(probe) }
