package contract

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

// budgets are the sizes, in bytes, that a stripped program may have. They are
// for linux/amd64; arm64 comes out smaller.
var budgets = map[string]int64{
	"hbsend":   2_000_000,
	"wdping":   2_000_000,
	"hbwatch":  2_400_000,
	"diagfifo": 2_400_000,
	"corecap":  3_000_000,
}

// budgetOfOne is for the program of all five.
const budgetOfOne = 4_300_000

func TestBudgets(t *testing.T) {
	dist := filepath.Join(tree.Built(t), "dist")
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(budgets) {
		t.Errorf("%d files in dist, want %d", len(entries), len(budgets))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes of %d", e.Name(), info.Size(), budgets[e.Name()])
		if info.Size() > budgets[e.Name()] {
			t.Errorf("%s: %d bytes, the budget is %d", e.Name(), info.Size(), budgets[e.Name()])
		}
		if err := standalone(filepath.Join(dist, e.Name())); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
}

// standalone returns what an ELF file would need of its surroundings, or what
// it carries along for nothing.
func standalone(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("has a %v segment", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug") {
			return fmt.Errorf("has a section %s", s.Name)
		}
	}
	return nil
}

// TestStandaloneNotices gives it a program as go build makes it, with symbols.
func TestStandaloneNotices(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	tool := "./cmd/" + tools(t)[0]
	if got := run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-C", tree.Built(t), "-buildvcs=false", "-o", plain, tool); got.code != 0 {
		t.Fatal(got.stderr)
	}
	if err := standalone(plain); err == nil {
		t.Errorf("%s built plainly: no complaint", tool)
	}
	if err := standalone("doc.go"); err == nil {
		t.Error("doc.go: no complaint")
	}
}

// TestReproducible builds a copy of the copy: other folder, other times, other
// environment, and wants the same bytes.
func TestReproducible(t *testing.T) {
	first := tree.Built(t)
	second := filepath.Join(t.TempDir(), "some", "other folder")
	if err := tree.Clone(first, second); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(second, "out")
	env := []string{"GOFLAGS=-tags=odd", "CGO_ENABLED=1", "GOAMD64="}
	if err := tree.Build(second, env, "-o", out); err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools(t) {
		a, b := digest(t, filepath.Join(first, "dist", tool)), digest(t, filepath.Join(out, tool))
		if a != b {
			t.Errorf("%s: %s, and built again %s", tool, a, b)
		}
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// TestBuildPrintsWhatItMade holds the lines of scripts/build to the files.
func TestBuildPrintsWhatItMade(t *testing.T) {
	dir := tree.Built(t)
	got := run(t, []string{"VERSION=" + tree.Version}, filepath.Join(dir, "scripts/build"))
	if got.code != 0 {
		t.Fatalf("exit status %d\n%s", got.code, got.stderr)
	}
	var want strings.Builder
	for _, tool := range tools(t) {
		path := filepath.Join(dir, "dist", tool)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%s %8d %s\n", digest(t, path), info.Size(), path)
	}
	if got.stdout != want.String() {
		t.Errorf("printed\n%swant\n%s", got.stdout, want.String())
	}
}

func TestBuildFailsLoudly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	if err := tree.Clone(root, dir); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "cmd", tools(t)[0], "broken.go")
	if err := os.WriteFile(broken, []byte("package main\n\nvar _ int = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f *tree.Failure
	if err := tree.Build(dir, nil); !errors.As(err, &f) || !strings.Contains(f.Output, "broken.go:3") {
		t.Errorf("a tree that does not compile: %v", err)
	}
}

// TestOne builds the program of all tools: it is smaller than half of them, its
// links are complete, and its page is true.
func TestOne(t *testing.T) {
	out := t.TempDir()
	if err := tree.Build(tree.Built(t), nil, "-1", "-o", out); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(out, "vigil")
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("vigil: %d bytes of %d", info.Size(), budgetOfOne)
	if info.Size() > budgetOfOne {
		t.Errorf("vigil: %d bytes, the budget is %d", info.Size(), budgetOfOne)
	}
	if err := standalone(program); err != nil {
		t.Errorf("vigil: %v", err)
	}
	if got, want := run(t, nil, program, "-list").stdout, strings.Join(tools(t), "\n")+"\n"; got != want {
		t.Errorf("-list: %q, want %q", got, want)
	}
	for _, tool := range tools(t) {
		want := fmt.Sprintf("%s %s %s/%s\n", tool, tree.Version, runtime.GOOS, runtime.GOARCH)
		if got := run(t, nil, filepath.Join(out, tool), "-version"); got.code != 0 || got.stdout != want {
			t.Errorf("%s -version, by its link: %+v, want %q", tool, got, want)
		}
	}
	for _, c := range compare(parsePage(read(t, "cmd/vigil/vigil.8")), run(t, nil, program, "-h").stdout) {
		t.Error(c)
	}
}

func TestVersion(t *testing.T) {
	dir := tree.Built(t)
	for _, tool := range tools(t) {
		got := run(t, nil, filepath.Join(dir, "dist", tool), "-version")
		want := fmt.Sprintf("%s %s %s/%s\n", tool, tree.Version, runtime.GOOS, runtime.GOARCH)
		if got.code != 0 || got.stdout != want || got.stderr != "" {
			t.Errorf("%s -version: %+v, want %q", tool, got, want)
		}
	}
}
