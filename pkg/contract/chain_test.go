package contract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// chain is a service called svc that is being watched by the programs, and the
// shell under which the scripts work on it.
type chain struct {
	*testing.T
	shell []string
	tree  string // with dist/ and scripts/
	dir   string // the run directory; beside it is the spool
	pid   int    // of the service
	env   []string
}

// scripted gives a chain without processes.
func scripted(t *testing.T, shell []string) *chain {
	t.Helper()
	c := &chain{T: t, shell: shell, tree: tree.Built(t), dir: filepath.Join(t.TempDir(), "run")}
	for _, name := range []string{"hb", "hold", "ctl", "../spool"} {
		if err := os.MkdirAll(filepath.Join(c.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.env = append(os.Environ(), "VIGIL_DIR="+c.dir, "VIGIL_SPOOL="+c.in("../spool"), "TMPDIR="+filepath.Dir(c.dir),
		"PATH="+filepath.Join(c.tree, "dist")+":"+os.Getenv("PATH"))
	return c
}

func (c *chain) in(name string) string { return filepath.Join(c.dir, name) }

// background starts a program that ends with the test. What it prints goes to
// the files NAME and NAME.log.
func (c *chain) background(name string, argv ...string) *os.Process {
	c.Helper()
	output, err := os.Create(c.in(name))
	if err != nil {
		c.Fatal(err)
	}
	log, err := os.Create(c.in(name + ".log"))
	if err != nil {
		c.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, output, log
	if !strings.Contains(argv[0], "/") {
		cmd.Path = filepath.Join(c.tree, "dist", argv[0])
		cmd.Err = nil
	}
	if err := errors.Join(cmd.Start(), output.Close(), log.Close()); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process
}

// serve starts the service and the sender that beats for it.
func (c *chain) serve() {
	c.Helper()
	service := c.background("service", "/bin/sleep", "100000")
	c.pid = service.Pid
	if err := os.WriteFile(c.in("svc.pid"), fmt.Appendln(nil, c.pid), 0o644); err != nil {
		c.Fatal(err)
	}
	c.background("hbsend", "hbsend", "-interval", "500ms", "-pidfile", c.in("svc.pid"), "-hold", c.in("hold"), c.in("hb/svc.hb"))
	c.until("the first beat", func() bool { return c.text("hb/svc.hb") != "" })
}

// watch starts hbwatch with more flags, and waits until it sees svc alive. Dead
// is who has been silent for two seconds.
func (c *chain) watch(flags ...string) *os.Process {
	c.Helper()
	p := c.background("events", slices.Concat([]string{"hbwatch", "-timeout", "2s", "-hold", c.in("hold")}, flags, []string{c.in("hb")})...)
	c.until("alive", func() bool { return strings.Contains(c.text("events"), `"to":"alive"`) })
	return p
}

// text is what a file holds; nothing, if there is none.
func (c *chain) text(name string) string {
	text, _ := os.ReadFile(c.in(name)) // none is empty, too
	return string(text)
}

// until waits for a condition.
func (c *chain) until(what string, condition func() bool) {
	c.Helper()
	if !settle(condition) {
		c.Fatalf("not seen in time: %s\nevents:\n%s", what, c.text("events"))
	}
}

// script gives the command that runs a script of the tree.
func (c *chain) script(name string, args ...string) *exec.Cmd {
	argv := slices.Concat(c.shell, []string{filepath.Join(c.tree, "scripts", name)}, args)
	cmd := exec.CommandContext(c.Context(), argv[0], argv[1:]...)
	cmd.Env = c.env
	return cmd
}

// do runs a script, with more variables, that has to end with code.
func (c *chain) do(code int, env []string, name string, args ...string) result {
	c.Helper()
	var stdout, stderr bytes.Buffer
	cmd := c.script(name, args...)
	cmd.Env = append(slices.Clone(c.env), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		c.Fatalf("%s %q: %v, want code %d\n%s%s", name, args, err, code, &stdout, &stderr)
	}
	return result{code, stdout.String(), stderr.String()}
}

// alarms lists the transitions to a state that is no good.
func (c *chain) alarms() (found []string) {
	for line := range strings.Lines(c.text("events")) {
		for _, state := range []string{"suspect", "dead", "failed"} {
			if strings.Contains(line, `"to":"`+state+`"`) {
				found = append(found, line)
			}
		}
	}
	return found
}

// state is the letter that ps shows of a process.
func state(t *testing.T, pid int) string {
	t.Helper()
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "State:\t"); ok {
			return rest[:1]
		}
	}
	t.Fatalf("pid %d: no state", pid)
	return ""
}

// scriptedUnderEveryShell runs a test under each shell, all at once: mostly they
// wait.
func scriptedUnderEveryShell(t *testing.T, test func(c *chain)) {
	gate.Need(t, "shells")
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			t.Parallel()
			test(scripted(t, shell))
		})
	}
}
