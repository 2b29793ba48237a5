package contract

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// demoLimit is what the demo may take on a slow machine under load; it
// promises a minute on an ordinary one.
const demoLimit = 5 * time.Minute

// strays lists the processes that belong to a script whose TMPDIR is dir, in
// whichever session they are: those that inherited it, and those that work
// there or were given a path there (a hook's environment is swept).
func strays(t *testing.T, dir string) (found []string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		// What cannot be read belongs to another user, or is gone.
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		ours := bytes.Contains(append([]byte{0}, env...), []byte("\x00TMPDIR="+dir+"\x00")) ||
			bytes.Contains(cmdline, []byte(dir)) || strings.HasPrefix(cwd, dir)
		if ours && len(cmdline) > 0 { // a zombie has none
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// settle waits for condition to hold, and reports whether it came to that: two
// minutes, for a gdb that starts beside a build, or a hook beside many.
func settle(condition func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if condition() {
			return true
		}
	}
	return false
}

// sweep fails the test for each process that a script with this TMPDIR left
// behind, and ends it.
func sweep(t *testing.T, dir string) {
	t.Helper()
	if settle(func() bool { return len(strays(t, dir)) == 0 }) {
		return
	}
	for _, s := range strays(t, dir) {
		t.Errorf("still running: %s", s)
		pid, _, _ := strings.Cut(s, " ")
		if n, err := strconv.Atoi(pid); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
}

// clean does that, and fails the test for each file left behind, too.
func clean(t *testing.T, dir string) {
	t.Helper()
	sweep(t, dir)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", filepath.Join(dir, e.Name()))
	}
}

func TestStraysAreNoticed(t *testing.T) {
	for _, test := range []struct{ name, env, dir, arg string }{
		{"by its environment", "TMPDIR=%s", "/", "60"},
		{"by its directory", "TMPDIR=/", "%s", "60"},
		{"by its arguments", "TMPDIR=/", "/", "%s/fifo"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
				t.Fatal(err)
			}
			fill := func(s string) string { return strings.ReplaceAll(s, "%s", dir) }
			program := "sleep"
			if strings.Contains(test.arg, "%s") {
				program = "cat" // waits for a writer for ever
			}
			stray := exec.Command(program, fill(test.arg))
			stray.Env, stray.Dir = append(os.Environ(), fill(test.env)), fill(test.dir)
			stray.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := stray.Start(); err != nil {
				t.Fatal(err)
			}
			// Start returns within exec: the arguments of the new program may be still
			// to come.
			var found []string
			settle(func() bool { found = strays(t, dir); return len(found) > 0 })
			if err := stray.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = stray.Wait()
			if len(found) != 1 || !strings.HasPrefix(found[0], strconv.Itoa(stray.Process.Pid)+" "+program) {
				t.Errorf("strays = %q, want process %d", found, stray.Process.Pid)
			}
			if again := strays(t, dir); len(again) != 0 {
				t.Errorf("strays after its end = %q", again)
			}
		})
	}
}

// demo gives the demo, to be started by shell, and its temporary directory.
// The demo runs in the copy of the tree: it builds what it shows.
func demo(t *testing.T, shell ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	argv := append(shell[:len(shell):len(shell)], filepath.Join(tree.Built(t), "scripts/demo"))
	ctx, cancel := context.WithTimeout(t.Context(), demoLimit)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "VERSION="+tree.Version)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd, dir
}

func play(t *testing.T, shell ...string) {
	t.Helper()
	cmd, dir := demo(t, shell...)
	begun := time.Now()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, output)
	}
	t.Logf("%s: %v", cmd, time.Since(begun).Round(time.Second))
	clean(t, dir)
}

func TestDemo(t *testing.T) { play(t, "/bin/sh") }

func TestDemoUnderEveryShell(t *testing.T) {
	gate.Need(t, "shells")
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) { play(t, shell...) })
	}
}

// TestDemoInterrupted sends the signal at once, and again at a later line, when
// the demo has processes of its own. What they leave open must not keep the
// test: it reads beside waiting, and from a pipe that Wait does not know.
func TestDemoInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, lines := range []int{1, 6} {
			t.Run(fmt.Sprintf("%v after line %d", sig, lines), func(t *testing.T) {
				cmd, dir := demo(t, "/bin/sh")
				ours, theirs, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer ours.Close()
				cmd.Stdout = theirs
				if err := errors.Join(cmd.Start(), theirs.Close()); err != nil {
					t.Fatal(err)
				}
				seen := make(chan struct{})
				go func() {
					scanner := bufio.NewScanner(ours)
					for n := 0; scanner.Scan(); n++ {
						if n+1 == lines {
							close(seen)
						}
					}
				}()
				select {
				case <-seen:
				case <-time.After(demoLimit):
					t.Errorf("line %d does not come", lines)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
				if err := cmd.Wait(); err == nil {
					t.Errorf("exit status 0 after %v", sig)
				}
				clean(t, dir)
			})
		}
	}
}
