package release

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/pkg/contract/tree"
)

const epoch = "1700000000"

func TestMain(m *testing.M) { tree.Main(m) }

// made is what scripts/release has made, and said.
var made = sync.OnceValues(func() (string, error) { return produce("-cn", "amd64", "mips") })

var said string

// produce runs scripts/release of the copy of the tree, for all tests.
func produce(args ...string) (string, error) {
	dir, err := os.MkdirTemp(tree.Scratch(), "")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*tree.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(tree.Root(), "scripts/release"), append([]string{"-o", dir}, args...)...)
	cmd.Env = append(os.Environ(), "VERSION="+tree.Version, "SOURCE_DATE_EPOCH="+epoch)
	out, err := cmd.CombinedOutput()
	said += string(out)
	if err != nil {
		return "", &exec.Error{Name: cmd.String(), Err: &failure{err, string(out)}}
	}
	return dir, nil
}

type failure struct {
	err    error
	output string
}

func (f *failure) Error() string { return f.err.Error() + "\n" + f.output }

func released(t *testing.T) string {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// try runs a program that is to end well, and gives what it said on stdout.
func try(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// unpacked unpacks the archive of a machine; suffix is "" or "-one".
func unpacked(t *testing.T, arch, suffix string) string {
	t.Helper()
	dir := t.TempDir()
	name := "vigil-" + tree.Version + "-linux-" + arch + suffix
	try(t, nil, "tar", "-xzf", filepath.Join(released(t), name+".tar.gz"), "-C", dir)
	return filepath.Join(dir, name)
}

// files lists what lies below a directory and is none.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
