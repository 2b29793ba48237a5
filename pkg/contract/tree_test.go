package contract

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// files lists the text files of the tree, by their names relative to root.
func files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "dist" || strings.HasSuffix(name, "testdata/fuzz") {
				return filepath.SkipDir
			}
			return nil
		}
		if name != ".git" { // a file in a second work tree
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// goFiles lists the Go files that belong to packages of the module.
func goFiles(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(files(t), func(name string) bool {
		return !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/")
	})
}

// A source is one file as the rules see it; file is nil if it is not Go.
type source struct {
	name string
	text string
	fset *token.FileSet
	file *ast.File
}

func parse(name, text string) (source, error) {
	s := source{name: name, text: text, fset: token.NewFileSet()}
	if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
		return s, nil
	}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// functions calls visit for each function declaration of a Go file.
func (s source) functions(visit func(f *ast.FuncDecl)) {
	if s.file == nil {
		return
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			visit(f)
		}
	}
}

// calls calls visit for each call of the form x.name(...) of a Go file, with
// the function in which it stands.
func (s source) calls(visit func(in *ast.FuncDecl, call *ast.CallExpr, x, name string)) {
	s.functions(func(f *ast.FuncDecl) {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok {
						visit(f, call, x.Name, sel.Sel.Name)
					}
				}
			}
			return true
		})
	})
}

// A complaint is a line and what is wrong there.
type complaint struct {
	line int
	text string
}

// A rule is a check of one file, with a file that breaks it and one that,
// however near, does not.
type rule struct {
	name      string
	check     func(s source) []complaint
	bad, good [2]string // name and text
}

var rules = []rule{
	{"only cli ends the process", exits,
		[2]string{"pkg/watch/w.go", "package watch\nimport \"os\"\nfunc f() { os.Exit(1) }\n"},
		[2]string{"pkg/watch/w_test.go", "package watch\nimport \"os\"\nfunc TestMain() { os.Exit(1) }\n"}},
	{"tests poll", sleeps,
		[2]string{"pkg/watch/w_test.go", "package watch\nimport \"time\"\nfunc f() { for range 3 { time.Sleep(1) } }\n"},
		[2]string{"pkg/watch/w_test.go", "package watch\nimport \"time\"\nfunc f() { for end := time.Now(); time.Now().Before(end); time.Sleep(1) {} }\n"}},
	{"only gates skip", skips,
		[2]string{"pkg/watch/w_test.go", "package watch\nfunc TestX(t *testing.T) { t.Skipf(\"no\") }\n"},
		[2]string{"pkg/watch/w_test.go", "package watch\nfunc TestX(t *testing.T) { gate.Need(t, \"gdb\"); s.Skip() }\n"}},
	{"only gates skip, in scripts", scriptSkips,
		[2]string{"cmd/x/testdata/a.txtar", "exec true\n[!root] skip 'no root'\n"},
		[2]string{"cmd/x/testdata/a.txtar", "exec echo skip\nstdout skip\n"}},
	{"functions are short", longFunctions,
		[2]string{"pkg/watch/w.go", "package watch\n// f is.\nfunc f() {\n" + strings.Repeat("\tg()\n", functionLines) + "}\n"},
		[2]string{"pkg/watch/w.go", "package watch\n// f is long: a table.\nfunc f() {\n" + strings.Repeat("\tg()\n", functionLines) + "}\n"}},
	{"shell functions are short", longShellFunctions,
		[2]string{"scripts/x", "#!/bin/sh\nf() {\n" + strings.Repeat("\t:\n", functionLines) + "}\n"},
		[2]string{"scripts/x", "#!/bin/sh\nf() {\n" + strings.Repeat("\t:\n", functionLines-2) + "}\n"}},
	{"files are short", longFiles,
		[2]string{"pkg/watch/w.go", "package watch\n// f is long: that excuses f.\n" + strings.Repeat("\n", fileLines)},
		[2]string{"pkg/watch/w.go", "package watch\n" + strings.Repeat("\n", fileLines-1)}},
	{"nothing is put off", deferred,
		[2]string{"README.md", "# x\nTO" + "DO: write\n"},
		[2]string{"README.md", "# x\nTODOS\n"}},
	{"no path of one machine", machinePaths,
		[2]string{"scripts/x", "#!/bin/sh\ncd /wo" + "rk/main\n"},
		[2]string{"scripts/x", "#!/bin/sh\ncd /usr/work/\n"}},
	{"exported things are explained", unexplained,
		[2]string{"pkg/watch/w.go", "// Package watch is.\npackage watch\nfunc F() {}\n"},
		[2]string{"pkg/watch/w.go", "// Package watch is.\npackage watch\n// F is.\nfunc F() {}\nfunc g() {}\n"}},
	{"errors speak one way", errorTexts,
		[2]string{"pkg/watch/w.go", "package watch\nfunc f() { _ = fmt.Errorf(\"fail" + "ed to open: %w\", err) }\n"},
		[2]string{"pkg/watch/w.go", "package watch\nfunc f() { _ = fmt.Errorf(\"%s: open: %w\", p, err); _ = errors.New(\"EOF: early\") }\n"}},
}

func TestRules(t *testing.T) {
	for _, name := range files(t) {
		s, err := parse(name, read(t, name))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, r := range rules {
			for _, c := range r.check(s) {
				t.Errorf("%s:%d: %s (%s)", name, c.line, c.text, r.name)
			}
		}
	}
}

func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for i, sample := range [][2]string{r.good, r.bad} {
				s, err := parse(sample[0], sample[1])
				if err != nil {
					t.Fatal(err)
				}
				if got := r.check(s); len(got) != i {
					t.Errorf("%s: %d complaints %v, want %d, in\n%s", s.name, len(got), got, i, s.text)
				}
			}
		})
	}
}

func exits(s source) (found []complaint) {
	s.calls(func(in *ast.FuncDecl, call *ast.CallExpr, x, name string) {
		ends := x == "os" && name == "Exit" || x == "syscall" && name == "Exit" ||
			x == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic"))
		allowed := strings.HasPrefix(s.name, "pkg/cli/") || strings.HasPrefix(s.name, "scripts/examples/") || s.test() && in.Name.Name == "TestMain"
		if ends && !allowed {
			found = append(found, complaint{s.line(call), x + "." + name})
		}
	})
	return found
}

// sleeps complains about a pause that is not part of a loop which looks at the
// clock: a test may poll until a deadline, never hope that some time is enough.
func sleeps(s source) (found []complaint) {
	if !s.test() {
		return nil
	}
	polling := map[*ast.CallExpr]bool{}
	s.functions(func(f *ast.FuncDecl) {
		ast.Inspect(f, func(n ast.Node) bool {
			if loop, ok := n.(*ast.ForStmt); ok {
				pauses := within(loop, "time", "Sleep")
				for _, pause := range pauses {
					polling[pause] = len(within(loop, "time", "Now", "Since", "Until")) > 0
				}
			}
			return true
		})
		for _, pause := range within(f, "time", "Sleep") {
			if !polling[pause] {
				found = append(found, complaint{s.line(pause), "time.Sleep"})
			}
		}
	})
	return found
}

// within lists the calls x.name(...) below n, for any of names.
func within(n ast.Node, x string, names ...string) (found []*ast.CallExpr) {
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(names, sel.Sel.Name) {
				if ident, ok := sel.X.(*ast.Ident); ok && ident.Name == x {
					found = append(found, call)
				}
			}
		}
		return true
	})
	return found
}

func skips(s source) (found []complaint) {
	s.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, x, name string) {
		tb := x == "t" || x == "b" || x == "f" || x == "tb"
		if tb && (name == "Skip" || name == "Skipf" || name == "SkipNow") && !strings.HasPrefix(s.name, "pkg/gate/") {
			found = append(found, complaint{s.line(call), x + "." + name})
		}
	})
	return found
}

// each complains about every line that pattern matches.
func each(text string, pattern *regexp.Regexp) (found []complaint) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if m := pattern.FindString(line); m != "" {
			found = append(found, complaint{number, strings.TrimSpace(m)})
		}
	}
	return found
}

var scriptSkip = regexp.MustCompile(`^(\[[^]]*\]\s*)*skip\b`)

func scriptSkips(s source) []complaint {
	if !strings.HasSuffix(s.name, ".txtar") {
		return nil
	}
	return each(s.text, scriptSkip)
}

var putOff = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

func deferred(s source) []complaint { return each(s.text, putOff) }

var machinePath = regexp.MustCompile(`(^|[^\w.$}])/(work|farm|root|tmp/plan)/\S*`)

func machinePaths(s source) []complaint { return each(s.text, machinePath) }

// unexplained asks for a comment on exported functions and types, and for one
// on the package in one of its files, which TestPackagesAreExplained checks.
func unexplained(s source) (found []complaint) {
	if s.file == nil || s.test() {
		return nil
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Recv == nil && d.Doc == nil {
				found = append(found, complaint{s.line(d), d.Name.Name})
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
					found = append(found, complaint{s.line(ts), ts.Name.Name})
				}
			}
		}
	}
	return found
}

func TestPackagesAreExplained(t *testing.T) {
	explained := map[string]bool{}
	for _, name := range goFiles(t) {
		s, err := parse(name, read(t, name))
		if err != nil {
			t.Error(err)
		} else if !s.test() {
			dir := filepath.Dir(name)
			explained[dir] = explained[dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range explained {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// errorTexts wants "object: verb phrase: cause", lower case, no full stop.
func errorTexts(s source) (found []complaint) {
	s.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, x, name string) {
		if s.test() || !(x == "fmt" && name == "Errorf" || x == "errors" && name == "New") || len(call.Args) == 0 {
			return
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			return
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			return
		}
		if bad := misspoken(text); bad != "" {
			found = append(found, complaint{s.line(call), fmt.Sprintf("%q: %s", text, bad)})
		}
	})
	return found
}

func misspoken(text string) string {
	r := []rune(text)
	switch {
	case strings.Contains(text, "failed to"), strings.HasPrefix(text, "error"):
		return "says no more than that it is an error"
	case strings.HasSuffix(text, "."), strings.HasSuffix(text, "\n"):
		return "ends like a sentence"
	case len(r) > 1 && unicode.IsUpper(r[0]) && unicode.IsLower(r[1]):
		return "begins like a sentence"
	}
	return ""
}
