// Package tree gives tests a copy of the source tree in which scripts/build has
// run. They use it instead of the tree itself, in which somebody may be editing
// or building.
//
// The package is for tests only; no program imports it.
package tree

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limit bounds every program started here. It is generous: a cold build on a
// slow machine has to fit.
const Limit = 10 * time.Minute

// Version is what -version prints of the programs built here.
const Version = "v0.0.0-contract"

var scratch string

// Main is what TestMain of a package calls that uses Built: the copy is removed
// when the package's tests have ended.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "vigil-contract-")
	if err != nil {
		panic(err)
	}
	scratch = dir
	defer os.RemoveAll(dir)
	m.Run()
}

// Scratch is a directory that Main removes at the end.
func Scratch() string { return scratch }

// Root finds the top of the source tree: the directory with go.mod above the
// working directory, which for a test is that of its package.
func Root() string {
	dir := "."
	for range 16 {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Join("..", dir)
	}
	return filepath.Clean(dir)
}

// Copy is Built for those who have no test at hand.
var Copy = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "tree")
	if err := Clone(Root(), dir); err != nil {
		return "", err
	}
	return dir, Build(dir, nil)
})

// Built returns the copy, made at the first call, and ends the test when it does
// not build. The copy is shared: nobody changes it.
func Built(t testing.TB) string {
	t.Helper()
	dir, err := Copy()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A Failure is a program that did not end as it should, with what it said.
type Failure struct {
	Argv   []string
	Err    error
	Output string
}

func (f *Failure) Error() string {
	return strings.Join(f.Argv, " ") + ": " + f.Err.Error() + "\n" + f.Output
}

// Build runs scripts/build of the tree in dir with more variables. What it gives
// is a *Failure.
func Build(dir string, env []string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "scripts/build"), args...)
	cmd.Env = append(append(os.Environ(), "VERSION="+Version), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return &Failure{cmd.Args, err, string(output)}
	}
	return nil
}

// Clone copies the source tree without what git or a build has put there.
func Clone(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if name == ".git" && !d.IsDir() { // in a second work tree
			return nil
		}
		if name == ".git" || name == "dist" {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, info.Mode().Perm())
	})
}
