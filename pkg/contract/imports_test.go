package contract

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	unix     = "golang.org/x/sys/unix"
	watchdog = "github.com/mdlayher/watchdog"
)

// rank says where a package stands. An import has to point down, to a lower
// rank; only leaves, rank 0, may import one another. A new package gets a row
// here, which is the moment to think about its place.
var rank = map[string]int{
	"account": 0, "boottime": 0, "child": 0, "cli": 0, "corefile": 0, "fence": 0, "fifo": 0, "flag": 0, "fmt": 0, "hook": 0, "journal": 0, "jsonline": 0, "procfs": 0,
	"ptrace": 0, "rundir": 0, "schedule": 0, "sdnotify": 0, "socket": 0, "spool": 0, "uffd": 0, "unwind": 0,

	"heartbeat": 1,
	"hold":      2,
	"control":   3, "detector": 3,
	"condition": 4,
	"capture":   5, "explain": 5, "sender": 5, "tune": 5, "watch": 5, "watchdog": 5,
	"crash": 6, "diag": 6, "feed": 6, "operate": 6, "prom": 6, "stacks": 6,
	"tool/corecap": 7, "tool/diagfifo": 7, "tool/hbsend": 7, "tool/hbwatch": 7, "tool/wdping": 7,
}

// testOnly are the packages that no program may contain, with those below them.
var testOnly = []string{"gate", "vmtest", "contract"}

// forbidden are packages that would break a budget or an idea: the codec and
// the log are our own and small, and there is no network.
var forbidden = []string{
	"encoding/gob", "encoding/json", "encoding/xml", "expvar", "go/ast", "html/template", "log", "log/slog",
	"net", "net/http", "plugin", "regexp", "testing", "text/template",
}

// systemFile says whether a file may import x/sys/unix: in the leaves, where
// the device is spoken to and where the heartbeat's file is locked; or for tests.
func systemFile(name string) bool {
	dir, base := filepath.Split(name)
	if strings.HasSuffix(base, "_test.go") {
		return true
	}
	if !strings.HasSuffix(base, "_linux.go") && !strings.Contains(base, "_linux_") {
		return false
	}
	pkg, ok := strings.CutPrefix(filepath.ToSlash(filepath.Clean(dir)), "pkg/")
	if !ok {
		return false
	}
	r, known := rank[pkg]
	return known && r == 0 || forTests(pkg) || pkg == "watchdog" || name == "pkg/heartbeat/file_linux.go"
}

// forTests tells whether a package of pkg, or a file in one, is for tests only.
func forTests(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return slices.Contains(testOnly, first)
}

// misdirected says what is wrong with importer ("cmd/x", "pkg/x") importing
// the package imported, or "".
func misdirected(importer, imported string) string {
	local, ours := strings.CutPrefix(imported, "vigil/")
	if !ours {
		if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || imported == unix || imported == watchdog {
			return ""
		}
		return "no such dependency was agreed on"
	}
	to, isPackage := strings.CutPrefix(local, "pkg/")
	if !isPackage {
		return "not a package of pkg"
	}
	if forTests(to) {
		return "for tests only"
	}
	below, known := rank[to]
	if !known {
		return "has no rank"
	}
	from, isPackage := strings.CutPrefix(importer, "pkg/")
	if !isPackage {
		return ""
	}
	above, known := rank[from]
	if !known {
		return "is imported by a package that has no rank"
	}
	if below < above || below == 0 && above == 0 {
		return ""
	}
	return fmt.Sprintf("does not point down (rank %d imports rank %d)", above, below)
}

func TestMisdirected(t *testing.T) {
	for _, test := range []struct {
		from, to string
		good     bool
	}{
		{"cmd/hbsend", "vigil/pkg/sender", true},
		{"cmd/hbsend", "fmt", true},
		{"cmd/hbsend", "vigil/cmd/hbwatch", false},
		{"cmd/hbsend", "vigil/pkg/gate", false},
		{"cmd/hbsend", "vigil/pkg/contract/tree", false},
		{"cmd/hbsend", "vigil/pkg/unheard", false},
		{"pkg/unheard", "vigil/pkg/cli", false},
		{"pkg/hold", "vigil/pkg/heartbeat", true},
		{"pkg/heartbeat", "vigil/pkg/hold", false},
		{"pkg/explain", "vigil/pkg/capture", false},
		{"pkg/cli", "vigil/pkg/jsonline", true},
		{"pkg/cli", "vigil/pkg/heartbeat", false},
		{"pkg/cli", "github.com/spf13/cobra", false},
		{"pkg/rundir", unix, true},
	} {
		if bad := misdirected(test.from, test.to); (bad == "") != test.good {
			t.Errorf("%s imports %s: %q, want good = %v", test.from, test.to, bad, test.good)
		}
	}
}

func TestSystemFile(t *testing.T) {
	for name, want := range map[string]bool{
		"pkg/rundir/rundir_linux.go":        true,
		"pkg/ptrace/restart_linux_amd64.go": true,
		"pkg/watchdog/device_linux.go":      true,
		"pkg/heartbeat/file_linux.go":       true,
		"pkg/heartbeat/file_test.go":        true,
		"pkg/contract/host/x_linux.go":      true,
		"pkg/heartbeat/codec_linux.go":      false,
		"pkg/rundir/rundir.go":              false,
		"pkg/watch/watch_linux.go":          false,
		"cmd/hbsend/main_linux.go":          false,
	} {
		if got := systemFile(name); got != want {
			t.Errorf("systemFile(%s) = %v", name, got)
		}
	}
}

// TestImportDirection reads every file, whatever system or tag it is for.
func TestImportDirection(t *testing.T) {
	for _, name := range goFiles(t) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if path == unix && !systemFile(name) {
				t.Errorf("%s: imports %s: only *_linux.go files of leaf packages may", name, unix)
			}
			if strings.HasSuffix(name, "_test.go") || forTests(strings.TrimPrefix(filepath.ToSlash(name), "pkg/")) {
				continue
			}
			if bad := misdirected(filepath.ToSlash(filepath.Dir(name)), path); bad != "" {
				t.Errorf("%s: imports %s: %s", name, path, bad)
			}
		}
	}
}

// A dependency is one package of what go list -deps prints.
type dependency struct {
	path, module string
	imports      []string
}

func closure(t *testing.T, tool string) []dependency {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{.ImportPath}}|{{with .Module}}{{.Path}}{{end}}|{{join .Imports ","}}`, "./cmd/"+tool)
	list.Dir = root
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	list.Stderr = t.Output()
	output, err := list.Output()
	if err != nil {
		t.Fatalf("go list ./cmd/%s: %v", tool, err)
	}
	var deps []dependency
	for line := range strings.Lines(string(output)) {
		field := strings.SplitN(strings.TrimSpace(line), "|", 3)
		deps = append(deps, dependency{field[0], field[1], strings.Split(field[2], ",")})
	}
	return deps
}

// TestClosure looks at all that ends up in a program, ours or not.
func TestClosure(t *testing.T) {
	modules := map[string]bool{}
	direct := map[string]bool{}
	for _, tool := range tools(t) {
		for _, d := range closure(t, tool) {
			if slices.Contains(forbidden, d.path) {
				t.Errorf("%s: contains %s", tool, d.path)
			}
			modules[d.module] = true
			for _, path := range d.imports {
				direct[path] = direct[path] || d.module == "vigil"
			}
		}
	}
	for _, path := range []string{unix, watchdog} {
		if !direct[path] {
			t.Errorf("%s: no program uses it", path)
		}
	}
	for module := range modules {
		if !slices.Contains([]string{"", "vigil", "golang.org/x/sys", watchdog}, module) {
			t.Errorf("%s: no such dependency was agreed on", module)
		}
	}
}
