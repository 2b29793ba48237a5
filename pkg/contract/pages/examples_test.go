package pages

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// TestMain lets more examples run side by side than there are processors: they
// wait, mostly.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	tree.Main(m)
}

// limit bounds the run of one example, which takes a second or two.
const limit = 10 * time.Minute

// standIns are the sections in which something is not the thing itself, and why.
// The words are what the section calls: stand_in NAME, or edit.
var standIns = map[string]string{
	"corecap.8: stand_in ssh":             "there is no other host",
	"hbwatch.8: edit":                     "nobody waits for the next minute: what cron would start is started at once",
	"vigil-restart.8: stand_in systemctl": "a systemd is not to be had in so small a machine; cmd/diagfifo and cmd/wdping are tried under one",
	"hb-forward.8: stand_in ssh":          "there is no other host: what it would do there is done with a /run of its own",
	"vigil-cron.8: edit":                  "nobody waits until a quarter past three",
	"vigil-cron.8: stand_in rsync":        "it is any job",
}

// A section is a part of testdata/PAGE.sh.
type section struct {
	gates []string
	key   string
	text  string
}

const advice = `Add to pkg/contract/pages/testdata/%s.sh a section (doc.go
there says how it is run; prelude.sh has what it may use), such as

### $ %s
service svc
example
has /t/out 'what the page says comes of it'
`

var heading = regexp.MustCompile(`(?m)^### (.*?)\$ (.*)$`)

// sections takes such a file apart.
func sections(text string) (found []section) {
	heads := heading.FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		found = append(found, section{strings.FieldsFunc(text[h[2]:h[3]], func(r rune) bool { return r == 0x20 || r == 0x2c }), strings.TrimSpace(text[h[4]:h[5]]), text[h[1]:end]})
	}
	return found
}

// pair gives for each example of a page its section, and says what is missing on
// either side.
func pair(p page, examples []example, list []section) (pairs map[int]section, bad []string) {
	pairs = map[int]section{}
	used := make([]bool, len(list))
	for i, e := range examples {
		if elsewhere[p.name+": "+e.key()][0] != "" {
			continue
		}
		n := slices.IndexFunc(list, func(s section) bool { return s.key == e.key() })
		if n < 0 || used[n] {
			bad = append(bad, fmt.Sprintf("%s:%d: this example is not executed:\n\n%s\n", p.file, e.line, e.text)+fmt.Sprintf(advice, p.name, e.key()))
			continue
		}
		used[n] = true
		pairs[i] = list[n]
	}
	for n, s := range list {
		if !used[n] {
			bad = append(bad, fmt.Sprintf("testdata/%s.sh: no example of %s begins with: %s", p.name, p.file, s.key))
		}
	}
	return pairs, bad
}

// elsewhere are the examples that another test runs: its file, and its name.
var elsewhere = map[string][2]string{
	"wdping.8: [Unit]":    {"cmd/wdping/units_test.go", "TestUnitsOfThePage"},
	"wdping.8: [Service]": {"cmd/wdping/units_test.go", "TestUnitsOfThePage"},
}

var replaced = regexp.MustCompile(`(?m)^\s*(stand_in \S+|edit) `)

// unlisted says which stand-ins of the sections the table does not have, and which
// it has for nothing.
func unlisted(texts map[string]string, table map[string]string) (bad []string) {
	seen := map[string]bool{}
	for page, text := range texts {
		for _, m := range replaced.FindAllStringSubmatch(text, -1) {
			seen[page+": "+m[1]] = true
		}
	}
	for what := range seen {
		if table[what] == "" {
			bad = append(bad, what+": not in standIns, with a reason")
		}
	}
	for what := range table {
		if !seen[what] {
			bad = append(bad, what+": in standIns, but nobody uses it")
		}
	}
	slices.Sort(bad)
	return bad
}

// texts reads the files with the sections, by the names of their pages.
func texts(t *testing.T, pages []page) map[string]string {
	t.Helper()
	found := map[string]string{}
	names, err := filepath.Glob("testdata/*.[1-8].sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		of := strings.TrimSuffix(filepath.Base(name), ".sh")
		if !slices.ContainsFunc(pages, func(p page) bool { return p.name == of }) {
			t.Errorf("%s: there is no such page", name)
		}
		found[of] = string(text)
	}
	return found
}

// TestElsewhere: what another test is said to run is on the page, and the test is
// there.
func TestElsewhere(t *testing.T) {
	for what, test := range elsewhere {
		name, key, _ := strings.Cut(what, ": ")
		examples, err := named(t, name).examples()
		if err != nil || !slices.ContainsFunc(examples, func(e example) bool { return e.key() == key }) {
			t.Errorf("%s: no such example on the page: %v", what, err)
		}
		text, err := os.ReadFile(filepath.Join(tree.Root(), test[0]))
		if err != nil || !strings.Contains(string(text), "\nfunc "+test[1]+"(t *testing.T) {") {
			t.Errorf("%s: %s has no %s: %v", what, test[0], test[1], err)
		}
	}
}

func TestPairNotices(t *testing.T) {
	p := page{name: "x.8", file: "cmd/x/x.8"}
	list := sections("### gdb vm $ a b\nexample\n### $ gone\nexample\n")
	if len(list) != 2 || !slices.Equal(list[0].gates, []string{"gdb", "vm"}) || list[0].key != "a b" || list[0].text != "\nexample\n" {
		t.Fatalf("sections = %v", list)
	}
	pairs, bad := pair(p, []example{{"a b\nc\n", 3}, {"new\n", 9}}, list)
	if len(pairs) != 1 || len(bad) != 2 || !strings.Contains(bad[0], "x.8:9: this example is not executed") || !strings.Contains(bad[1], "no example of cmd/x/x.8 begins with: gone") {
		t.Errorf("pair = %v, %q", pairs, bad)
	}
	got := unlisted(map[string]string{"x.8": "stand_in ssh <<E\n\tedit 's/a/b/'\n"}, map[string]string{"x.8: stand_in ssh": "no other host", "y.8: edit": "why"})
	if len(got) != 2 || !strings.HasPrefix(got[0], "x.8: edit: not in standIns") || !strings.HasPrefix(got[1], "y.8: edit: in standIns, but") {
		t.Errorf("unlisted = %q", got)
	}
}

// TestExamples runs every example of every page.
func TestExamples(t *testing.T) {
	pages := all(t)
	files := texts(t, pages)
	for _, bad := range unlisted(files, standIns) {
		t.Error(bad)
	}
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			examples, err := p.examples()
			if err != nil {
				t.Fatal(err)
			}
			if len(examples) == 0 {
				t.Errorf("%s: no examples", p.file)
			}
			pairs, bad := pair(p, examples, sections(files[p.name]))
			for _, b := range bad {
				t.Error(b)
			}
			for i, s := range pairs {
				t.Run(fmt.Sprintf("line %d", examples[i].line), func(t *testing.T) {
					t.Parallel()
					try(t, examples[i], s)
				})
			}
		})
	}
}

// stage is an installation of vigil, as scripts/install makes it for a package,
// in the built tree, with which it is removed.
var stage = sync.OnceValues(func() (string, error) {
	built, err := tree.Copy()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(built, "stage")
	// The five in one, besides: no installation has both forms.
	if err := tree.Build(built, nil, "-1", "-o", filepath.Join(built, "one")); err != nil {
		return "", err
	}
	one, err := os.ReadFile(filepath.Join(built, "one/vigil"))
	if err != nil {
		return "", err
	}
	for _, bin := range []string{"dist", "stage/usr/local/bin"} {
		if err := os.MkdirAll(filepath.Join(built, bin), 0o755); err != nil {
			return "", err
		}
		if err := executable.Write(filepath.Join(built, bin, "vigil"), one, 0o755); err != nil {
			return "", err
		}
	}
	install := exec.Command(filepath.Join(built, "scripts/install"))
	install.Env = append(os.Environ(), "DESTDIR="+dir, "PREFIX=/usr/local")
	if output, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("scripts/install: %w: %s", err, output)
	}
	return dir, nil
})

// try runs one.
func try(t *testing.T, e example, s section) {
	if slices.Contains(s.gates, "vm") {
		inVM(t, e, s)
		return
	}
	gate.Need(t, append([]string{"root", "tmpfs"}, s.gates...)...)
	prelude, err := os.ReadFile("testdata/prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"example": e.text, "prelude": string(prelude), "section": s.text, "script": ". /t/prelude\nset -x\n. /t/section\n"} {
		if err := os.MkdirAll(filepath.Join(dir, "t"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "t", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	vigil, err := stage()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child",
		"sh", "testdata/machine.sh", root, vigil, filepath.Join(dir, "t"))
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: the example\n\n%s\nis not as the page says; the end of the run:\n%s", err, e.text, tail(said.String(), 40))
	}
}

// vmSetup makes a virtual machine as machine.sh makes the small ones.
const vmSetup = `
set -eu
in_vm
mkdir -p /run/vigil/hb /run/vigil/hold /run/vigil/ctl /var/lib/vigil /var/log /etc/vigil /root
chmod 755 /
mount -t tmpfs -o mode=755 spool /var/lib/vigil
modprobe softdog
await test -c /dev/watchdog
export HOME=/root
cd /root
. /t/prelude
PATH=/usr/local/bin:$PATH
set -x
. /t/section
`

// inVM runs one that wants a watchdog, or settings that are the whole machine's.
func inVM(t *testing.T, e example, s section) {
	gate.Need(t, s.gates...)
	vigil, err := stage()
	if err != nil {
		t.Fatal(err)
	}
	prelude, err := os.ReadFile("testdata/prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"/t/prelude": prelude, "/t/section": []byte(s.text), "/t/example": []byte(e.text)}
	for _, dir := range []string{"/usr/local/bin", "/usr/local/share/vigil"} {
		names, err := filepath.Glob(vigil + dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.IsDir() {
				continue
			}
			if files[dir+"/"+filepath.Base(name)], err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := vmtest.Boot(t, vmtest.Machine{Files: files, Modules: []string{"softdog"}, Script: vmSetup, Shift: 3})
	if got.End != vmtest.Off || !got.Has(`script ended with 0$`) {
		t.Errorf("end %s: the example\n\n%s\nis not as the page says; the end of the console:\n%s", got.End, e.text, tail(got.Console, 40))
	}
}

// tail gives the last lines of a text, without those of polling.
func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "+ sleep 0.05") || strings.HasPrefix(l, "+ tries=") || strings.HasPrefix(l, "+ [ ")
	})
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
