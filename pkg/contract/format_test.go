package contract

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compiled lists the packages below pattern: their files, and where the export data
// of each package that they need lies.
func compiled(t *testing.T, dir string, patterns ...string) (packages map[string][]string, exports map[string]string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-f",
		`{{.ImportPath}}|{{.Export}}|{{.Dir}}|{{.Standard}}|{{join .GoFiles ","}}`}, patterns...)...)
	list.Dir = dir
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	list.Stderr = t.Output()
	output, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages, exports = map[string][]string{}, map[string]string{}
	for line := range strings.Lines(string(output)) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 5)
		exports[f[0]] = f[1]
		if f[0] != "vigil" && !strings.HasPrefix(f[0], "vigil/") {
			continue
		}
		for _, name := range strings.Split(f[4], ",") {
			packages[f[0]] = append(packages[f[0]], filepath.Join(f[2], name))
		}
	}
	return packages, exports
}

// A formatter is a function of ours that takes a format, or values to show.
// misprints says what is wrong with the calls to them in one package: pkg/fmt does
// without reflection and shows of a stranger only %!v(?).
func misprints(path string, names []string, exports map[string]string) (found []string, calls int, err error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	if _, err := config.Check(path, fset, files, info); err != nil {
		return nil, 0, err
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !ours(info, call) {
				return true
			}
			calls++
			for _, bad := range misprint(info, call) {
				found = append(found, fset.Position(call.Pos()).String()+": "+bad)
			}
			return true
		})
	}
	return found, calls, nil
}

// ours tells whether a call goes to a function of the module that takes any values.
func ours(info *types.Info, call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	if sel, isSel := call.Fun.(*ast.SelectorExpr); isSel {
		name, ok = sel.Sel, true
	}
	if !ok {
		return false
	}
	fn, ok := info.Uses[name].(*types.Func)
	if !ok || fn.Pkg() == nil || !strings.HasPrefix(fn.Pkg().Path(), "vigil/") {
		return false
	}
	sig := fn.Signature()
	if fn.Name() == "Sprint" {
		return true
	}
	last := sig.Params().Len() - 1
	if !sig.Variadic() || call.Ellipsis.IsValid() {
		return false
	}
	elem, ok := sig.Params().At(last).Type().(*types.Slice).Elem().Underlying().(*types.Interface)
	return ok && elem.Empty()
}

// misprint says what is wrong with one call. The text before the values is a format
// where the function's name ends in f or nothing else fits.
func misprint(info *types.Info, call *ast.CallExpr) (bad []string) {
	sig := info.Types[call.Fun].Type.(*types.Signature)
	fixed := sig.Params().Len() - 1
	if !sig.Variadic() {
		fixed = 0
	}
	format, isFormat := constantText(info, call, fixed)
	verbs, odd := "", ""
	if isFormat {
		verbs, odd = verbsOf(format)
	}
	for i, a := range call.Args[fixed:] {
		numeric := i < len(verbs) && strings.IndexByte("doxfg", verbs[i]) >= 0
		if at := info.Types[a].Type; !printable(at, numeric) {
			bad = append(bad, types.ExprString(a)+" is a "+at.String())
		}
	}
	if !isFormat {
		if formats(call) && fixed > 0 {
			bad = append(bad, "the format is not constant")
		}
		return bad
	}
	if odd != "" {
		bad = append(bad, "verb "+odd)
	}
	if len(verbs) != len(call.Args)-fixed {
		bad = append(bad, "as many verbs as values wanted")
	}
	return bad
}

// formats tells whether what is called takes a format.
func formats(call *ast.CallExpr) bool {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	return slices.Contains([]string{"Sprintf", "Fprintf", "Errorf", "Appendf", "Usagef", "Usage"}, name)
}

// constantText is the format of a call, in the last of its fixed arguments.
func constantText(info *types.Info, call *ast.CallExpr, fixed int) (format string, ok bool) {
	if fixed == 0 || !formats(call) {
		return "", false
	}
	v := info.Types[call.Args[fixed-1]].Value
	if v == nil || v.Kind() != constant.String {
		return "", false
	}
	return constant.StringVal(v), true
}

// verbsOf gives the verbs that take a value, and one that pkg/fmt does not know.
func verbsOf(format string) (verbs, odd string) {
	for {
		_, rest, ok := strings.Cut(format, "%")
		if !ok {
			return verbs, odd
		}
		rest = strings.TrimLeft(rest, "-0#123456789.")
		if rest == "" {
			return verbs, "at the end"
		}
		if rest[0] != '%' {
			verbs += rest[:1]
		}
		if strings.IndexByte("sqvdxofgw%", rest[0]) < 0 {
			odd = rest[:1]
		}
		format = rest[1:]
	}
}

// printable tells whether pkg/fmt shows a value of the type, with a verb for numbers
// or another. What is any already was looked at where it became that.
func printable(t types.Type, numeric bool) bool {
	for _, name := range []string{"Error", "String"} {
		if numeric {
			break
		}
		obj, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
		if m, ok := obj.(*types.Func); ok && m.Signature().Params().Len() == 0 && m.Signature().Results().Len() == 1 {
			return true
		}
	}
	switch u := types.Unalias(t).(type) {
	case *types.Basic:
		return u.Kind() != types.UnsafePointer && u.Info()&types.IsComplex == 0
	case *types.Slice:
		b, ok := types.Unalias(u.Elem()).(*types.Basic)
		return ok && b.Kind() == types.Uint8
	case *types.Interface:
		return u.Empty()
	}
	return false
}

// TestFormatRules: whoever formats with pkg/fmt, or hands values on to it, does so with what it knows.
func TestFormatRules(t *testing.T) {
	packages, exports := compiled(t, root, "./...")
	all := 0
	for path, names := range packages {
		found, calls, err := misprints(path, names, exports)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, bad := range found {
			t.Error(bad)
		}
		all += calls
	}
	if all < 100 {
		t.Errorf("only %d calls seen", all)
	}
}

// TestFormatRulesNotices gives it a file with every mistake.
func TestFormatRulesNotices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.go")
	err := os.WriteFile(file, []byte(`package x

import (
	"os"
	"time"

	"vigil/pkg/fmt"
)

type odd int

func f(format string, e error, log interface{ Warn(string, ...any) }) {
	_ = fmt.Sprintf("%s %d %v %q %x", "a", 1, time.Second, []byte("b"), uint8(1))
	_ = fmt.Sprintf("%s: %w %%", "a", os.ErrExist)
	_ = fmt.Sprint(e)
	_ = fmt.Sprintf("%d", odd(1))
	_ = fmt.Sprintf("%d %d", 1)
	_ = fmt.Errorf("%t", true)
	_ = fmt.Errorf(format)
	_ = fmt.Sprint([]string{"a"})
	_ = fmt.Sprint(struct{}{})
	_ = fmt.Sprintf("%s %d", time.Second, time.Second)
}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, exports := compiled(t, root, "./pkg/fmt", "os", "time")
	found, calls, err := misprints("x", []string{file}, exports)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		":16:6: odd(1) is a x.odd", ":17:6: as many verbs as values wanted", ":18:6: verb t",
		":19:6: the format is not constant", ":20:6: []string{…} is a []string", ":21:6: struct{}{} is a struct{}",
		":22:6: time.Second is a time.Duration",
	}
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], file)
	}
	if calls != 10 || !slices.Equal(found, want) {
		t.Errorf("%d calls\nhave %q\nwant %q", calls, found, want)
	}
}
