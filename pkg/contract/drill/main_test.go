package drill

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// TestMain runs many tests at a time, whatever the processors: mostly they wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	tree.Main(m)
}

// A host is a directory of its own for a script under one shell.
type host struct {
	*testing.T
	shell []string
	tree  string // with dist/ and scripts/
	dir   string // with run/, spool/ and tmp/
	env   []string
}

func newHost(t *testing.T, shell []string) *host {
	t.Helper()
	h := &host{T: t, shell: shell, tree: tree.Built(t), dir: t.TempDir()}
	for _, name := range []string{"run/hb", "run/hold", "run/ctl", "spool", "tmp"} {
		if err := os.MkdirAll(h.in(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.env = append(os.Environ(), "VIGIL_DIR="+h.in("run"), "VIGIL_SPOOL="+h.in("spool"), "TMPDIR="+h.in("tmp"),
		"PATH="+filepath.Join(h.tree, "dist")+":"+os.Getenv("PATH"))
	return h
}

// underEveryShell runs a test under each shell, all at once.
func underEveryShell(t *testing.T, test func(h *host)) {
	gate.Need(t, "shells")
	t.Parallel()
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			t.Parallel()
			test(newHost(t, shell))
		})
	}
}

func (h *host) in(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string, mode os.FileMode) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(h.in(name)), 0o755); err != nil {
		h.Fatal(err)
	}
	if err := executable.Write(h.in(name), []byte(text), mode); err != nil {
		h.Fatal(err)
	}
}

// text is what a file holds; nothing, if there is none.
func (h *host) text(name string) string {
	text, _ := os.ReadFile(h.in(name)) // none is empty, too
	return string(text)
}

// argv is a script of the tree under the shell.
func (h *host) argv(name string, args ...string) []string {
	return slices.Concat(h.shell, []string{filepath.Join(h.tree, "scripts", name)}, args)
}

// A result is how a script ended.
type result struct {
	code           int
	stdout, stderr string
}

// do runs a program, with more variables, to its end.
func (h *host) do(env []string, argv ...string) result {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), tree.Limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(slices.Clone(h.env), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		h.Fatalf("%q: %v\n%s", argv, err, &stderr)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// background starts a program, which is killed at the end, with what it prints in
// NAME and NAME.err.
func (h *host) background(name string, argv ...string) *exec.Cmd {
	h.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if own := filepath.Join(h.tree, "dist", argv[0]); !strings.Contains(argv[0], "/") && exists(own) {
		cmd = exec.Command(own, argv[1:]...)
	}
	cmd.Env = h.env
	stdout, err := os.Create(h.in(name))
	if err != nil {
		h.Fatal(err)
	}
	defer stdout.Close()
	stderr, err := os.Create(h.in(name + ".err"))
	if err != nil {
		h.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// until waits for a condition.
func (h *host) until(what string, condition func() bool) {
	h.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if condition() {
			return
		}
	}
	h.Fatalf("not seen in time: %s", what)
}

// files lists what lies in the directories of the host.
func (h *host) files() string {
	h.Helper()
	var names []string
	err := filepath.WalkDir(h.dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// strays lists the processes, by what they were started with, that have something
// of the host among their arguments or in their environment.
func (h *host) strays() (found []string) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		h.Fatal(err)
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline") // it may be gone
		environ, _ := os.ReadFile(dir + "/environ")
		if bytes.Contains(line, []byte(h.dir)) || bytes.Contains(environ, []byte("="+h.in("tmp"))) {
			found = append(found, dir+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
