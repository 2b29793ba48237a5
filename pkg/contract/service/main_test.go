package service

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/host"
	"vigil/pkg/contract/tree"
	"vigil/pkg/vmtest"
)

// TestMain lets more tests run side by side than there are processors: they wait,
// for deadlines, and for cron's next minute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "9"); err != nil {
		panic(err)
	}
	tree.Main(m)
}

// path is where everything is looked for.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// uid is the user web, whose service it is.
const uid = 1000

// work is a service that knows nothing of heartbeats.
const work = "#!/bin/sh\nwhile :; do sleep 1 & wait $!; done\n"

// put writes a file below dir.
func put(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := executable.Write(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// installed gives the files of a host on which scripts/install has been run, with
// a service and a user for it.
func installed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	install := exec.Command(filepath.Join(tree.Built(t), "scripts/install"))
	install.Env = append(os.Environ(), "DESTDIR="+dir, "PREFIX=/usr/local")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	put(t, dir, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n", 0o644)
	put(t, dir, "etc/group", "root:x:0:\nweb:x:1000:\n", 0o644)
	put(t, dir, "usr/local/bin/web", work, 0o755)
	for _, name := range []string{"root", "home/web", "var/lib", "var/spool/cron/crontabs"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "home/web"), uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unpacked gives a file of a Debian package that the gate inits has.
func unpacked(t *testing.T, pack, name string) string {
	t.Helper()
	dir, err := vmtest.Debian(runtime.GOARCH, pack)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// bring copies a file into a host's files.
func bring(t *testing.T, from, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, name, string(text), 0o755)
}

// busyboxOnly makes a host's files complete with a busybox, its commands, and
// nothing else.
func busyboxOnly(t *testing.T, dir string) {
	t.Helper()
	busybox := unpacked(t, "busybox-static", "bin/busybox")
	bring(t, busybox, dir, "bin/busybox")
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

var block = regexp.MustCompile("(?s)```sh\n(.*?)```")

// steps gives the commands of a section of docs/service.md.
func steps(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree.Root(), "docs/service.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	m := block.FindStringSubmatch(rest)
	if !found || m == nil {
		t.Fatalf("docs/service.md: no commands for %s", section)
	}
	return m[1]
}

// follow runs the commands of a section on a host.
func (c *chain) follow(section string) {
	c.Helper()
	if got := c.h.Run("/bin/sh", "-euc", steps(c.T, section)); got.Code != 0 {
		c.Fatalf("%s: exit status %d\n%s%s", section, got.Code, got.Stdout, got.Stderr)
	}
}

// start starts a host whose first process is init.
func start(t *testing.T, config host.Config) *chain {
	t.Helper()
	config.Env = append(config.Env, path, "HOME=/root")
	return &chain{T: t, h: host.Start(t, config), id: "web", run: "/run/vigil"}
}
