package service

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

var command = regexp.MustCompile(`(?s)(startup|liveness|readiness)Probe:\n\s+exec:\n\s+command: (\[.*?\])\n`)

// probes gives the commands of the manifest by the kind of the probe.
func probes(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree.Root(), "scripts/service/kubernetes/web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, m := range command.FindAllStringSubmatch(string(text), -1) {
		var argv []string
		if err := json.Unmarshal([]byte(m[2]), &argv); err != nil {
			t.Fatalf("%s: %v in %s", m[1], err, m[2])
		}
		found[m[1]] = argv
	}
	if len(found) != 3 {
		t.Fatalf("probes %q, want three", found)
	}
	return found
}

// TestKubernetes asks what the kubelet would ask, in a container that is as the
// manifest says, of a service that lives, hangs, is debugged, and has never beaten.
func TestKubernetes(t *testing.T) {
	gate.Need(t, "root", "tmpfs", "shells", "inits")
	t.Parallel()
	argv := probes(t)
	files := installed(t)
	// One that is late is so for four seconds, which a machine that is busy may not
	// even see: with this, for twenty.
	text, err := os.ReadFile(filepath.Join(files, entrypoint))
	slow := strings.Replace(string(text), " -interval 2s ", " -interval 10s ", 1)
	if err != nil || slow == string(text) {
		t.Fatalf("entrypoint: no -interval 2s, %v", err)
	}
	put(t, files, entrypoint, slow, 0o755)
	c := contained(t, files, "busybox", "/usr/local/bin/web")
	asks := func(kind string) int { return c.h.RunAs(uid, argv[kind]...).Code }
	all := func(what string, startup, liveness, readiness int) {
		t.Helper()
		want := [3]int{startup, liveness, readiness}
		c.await(what, func() bool { return [3]int{asks("startup"), asks("liveness"), asks("readiness")} == want })
	}
	all("a service that lives", 0, 0, 0)
	c.h.Signal(c.find(c.service()), syscall.SIGSTOP)
	all("one that is late", 1, 0, 1)
	all("one that hangs", 1, 1, 1)
	if c.tool("diagfifo", "hold", "-dir", c.run+"/hold", c.id, "5m", "gdb").Code != 0 {
		t.Fatal("no hold")
	}
	c.await("one that is debugged", func() bool { return asks("liveness") == 0 && asks("readiness") == 0 })
	c.h.Signal(c.find(c.service()), syscall.SIGCONT)
	c.tool("diagfifo", "release", "-dir", c.run+"/hold", "-force", c.id)
	all("one that lives again", 0, 0, 0)
	// Who beats would make it anew.
	c.h.Signal(c.find(c.hbsend()), syscall.SIGSTOP)
	c.await("nobody to beat", func() bool { return c.find(c.hbsend()).State == 'T' })
	if err := os.Remove(c.h.Path(c.run + "/hb/web.hb")); err != nil {
		t.Fatal(err)
	}
	if got := c.h.RunAs(uid, argv["startup"]...); got.Code != 1 || strings.Contains(got.Stderr, "error") {
		t.Errorf("one that has never beaten: %+v", got)
	}
	if got := asks("liveness"); got != 0 {
		t.Errorf("one that has never beaten is to be started again: %d", got)
	}
}

// TestManifest has the types of the Kubernetes API read the manifest: every member
// is one that they know, where they know it. And they refuse one that is not.
func TestManifest(t *testing.T) {
	gate.Need(t, "k8s-api")
	t.Parallel()
	read := filepath.Join(t.TempDir(), "manifest")
	build := exec.Command("go", "build", "-o", read, ".")
	build.Dir = "testdata/manifest"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(tree.Root(), "scripts/service/kubernetes/web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) (string, error) {
		cmd := exec.Command(read)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := ask(string(text))
	var got map[string][]string
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || !maps.EqualFunc(got, probes(t), slices.Equal) {
		t.Errorf("%v: %s, want %q", err, out, probes(t))
	}
	if out, err := ask(strings.Replace(string(text), "failureThreshold", "failuresThreshold", 1)); err == nil || !strings.Contains(out, "failuresThreshold") {
		t.Errorf("a member that there is not: %v %s", err, out)
	}
}
