package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// buildLimit is for a cold cache on a slow machine.
const buildLimit = 10 * time.Minute

var programs sync.Map // arch → func() (map[string][]byte, error)

// Program gives the bytes of one of vigil's programs, made by scripts/build as
// users get it. It ends the test when it does not build.
func Program(t testing.TB, arch, name string) []byte {
	t.Helper()
	once, _ := programs.LoadOrStore(arch, sync.OnceValues(func() (map[string][]byte, error) {
		root, err := top()
		if err != nil {
			return nil, err
		}
		return build(arch, filepath.Join(root, "scripts/build"), "-o")
	}))
	all, err := once.(func() (map[string][]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return all[name]
}

// Helper gives the bytes of a program that a test brings along: a directory with
// Go source, relative to that of the test.
func Helper(t testing.TB, arch, dir string) []byte {
	t.Helper()
	all, err := build(arch, "go", "build", "-C", dir, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o")
	if err != nil {
		t.Fatal(err)
	}
	return all[filepath.Base(dir)]
}

// build runs a command whose last argument is to be where the programs go, and
// gives them by their names.
func build(arch string, argv ...string) (map[string][]byte, error) {
	out, err := os.MkdirTemp("", "vigil-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:len(argv):len(argv)], out+"/")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "VERSION=v0.0.0-vm")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", argv, err, said)
	}
	made, err := os.ReadDir(out)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, file := range made {
		if all[file.Name()], err = os.ReadFile(filepath.Join(out, file.Name())); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// top finds the directory with go.mod above the working directory.
func top() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == "/" {
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}
