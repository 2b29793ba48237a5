package contract

import (
	"bytes"
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

// commandLimit bounds every program started here. It is generous: a cold
// build on a slow machine has to fit.
const commandLimit = 10 * time.Minute

// root is the top of the source tree, seen from this package.
const root = "../.."

var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vigil-contract-")
	if err != nil {
		panic(err)
	}
	scratch = dir
	defer os.RemoveAll(dir)
	m.Run()
}

// tools names the programs: the directories of cmd.
func tools(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "cmd"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// tree is a copy of the source tree in which scripts/build has run. Tests use
// it instead of the tree itself, in which somebody may be editing or building.
var tree = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "tree")
	if err := clone(root, dir); err != nil {
		return "", err
	}
	return dir, build(dir, nil)
})

// built returns the copy, and ends the test when it does not build.
func built(t *testing.T) string {
	t.Helper()
	dir, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// version is what -version has to print of the programs built here.
const version = "v0.0.0-contract"

// A failure is a program that did not end as it should, with what it said.
type failure struct {
	argv   []string
	err    error
	output string
}

func (f *failure) Error() string {
	return strings.Join(f.argv, " ") + ": " + f.err.Error() + "\n" + f.output
}

func build(dir string, env []string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "scripts/build"), args...)
	cmd.Env = append(append(os.Environ(), "VERSION="+version), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return &failure{cmd.Args, err, string(output)}
	}
	return nil
}

// clone copies the source tree without what git or a build has put there.
func clone(from, to string) error {
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

// A result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a program with the variables env added to the environment. It
// fails the test only if the program cannot be started or does not end.
func run(t *testing.T, env []string, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.String())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
