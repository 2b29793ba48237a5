package main

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/gate"
	"vigil/pkg/socket"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"diagfifo": main, "talk": talk})
}

// talk is a client of the socket: talk DIR LINE... prints the first line of each
// answer.
func talk() {
	cli.Main(cli.Tool{Name: "talk"}, func(env *cli.Env, args []string) int {
		conn, err := socket.Dial(args[0], "s")
		if err == nil {
			err = conn.SetDeadline(time.Now().Add(time.Minute))
		}
		answers := bufio.NewReader(conn)
		for _, line := range args[1:] {
			if err == nil {
				_, err = conn.WriteString(line + "\n")
			}
			if err == nil {
				line, err = answers.ReadString('\n')
				env.Print([]byte(line))
			}
		}
		if err != nil {
			return env.Fail(err)
		}
		return cli.ExitOK
	})
}

// params gives each script the PID of a sleeping process, and an environment
// without names of users.
func params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			sleeper := exec.Command("sleep", "600")
			if err := sleeper.Start(); err != nil {
				return err
			}
			env.Defer(func() {
				_ = sleeper.Process.Kill()
				_ = sleeper.Wait()
			})
			env.Setenv("PID", strconv.Itoa(sleeper.Process.Pid))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each program would linger for a second
			for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
				env.Setenv(name, "")
			}
			// A run directory is its owner's alone, whatever the umask.
			return os.Chmod(env.WorkDir, 0o755)
		},
	}
}

func TestScripts(t *testing.T) { testscript.Run(t, params("testdata")) }

// TestShells runs the same clients, which know nothing but a FIFO, in each
// shell.
func TestShells(t *testing.T) {
	gate.Need(t, "shells")
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			p := params("testdata/shell")
			setup := p.Setup
			p.Setup = func(env *testscript.Env) error {
				path, err := exec.LookPath(shell[0])
				if err != nil {
					return err
				}
				wrapper := "#!/bin/sh\nexec " + path + " " + strings.Join(shell[1:], " ") + " \"$@\"\n"
				if err := os.WriteFile(filepath.Join(env.WorkDir, "shell"), []byte(wrapper), 0o755); err != nil {
					return err
				}
				script, err := filepath.Abs("../../scripts/diag.sh")
				if err != nil {
					return err
				}
				env.Setenv("DIAGSH", script)
				return setup(env)
			}
			testscript.Run(t, p)
		})
	}
}

func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "setpriv", "tmpfs")
	testscript.Run(t, params("testdata/root"))
}

// served is the table of verbs as a server tells it.
func served(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := options{hold: dir, keep: 1, run: dir, signals: "HUP", corecap: self, cores: dir}
	o.target.pid = os.Getpid()
	config, err := o.config(cli.NewLog("test", t.Output()), dir+"/svc")
	if err != nil {
		t.Fatal(err)
	}
	server, err := control.Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	end, over := make(chan struct{}), make(chan error)
	go func() { over <- server.Serve(end) }()
	_, help, err := control.Ask(nil, time.Minute, dir+"/svc", false, "help", nil)
	close(end)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	return string(help)
}

var (
	helpLine = regexp.MustCompile(`(?m)^(\S.*?) +(ctl|ctl\.admin) +\S`)
	verbItem = regexp.MustCompile(`(?m)^\.It Ic (.*)$`)
	codeItem = regexp.MustCompile(`(?m)^\.It Er (.*)$`)
)

// TestPageVerbs holds the verbs, their keys and their FIFOs on the page to those
// that are served, and the codes to the table of them, both ways.
func TestPageVerbs(t *testing.T) {
	text, err := os.ReadFile("diagfifo.8")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	var program, manual []string
	for _, m := range helpLine.FindAllStringSubmatch(served(t), -1) {
		program = append(program, m[2]+" "+m[1])
	}
	common, admin, _ := strings.Cut(page, "\n.Pa ctl.admin\ntakes these")
	for name, part := range map[string]string{"ctl": common, "ctl.admin": admin} {
		for _, m := range verbItem.FindAllStringSubmatch(part, -1) {
			plain := strings.NewReplacer("Oo ", "[", " Oc", "]", "Cm ", "", "Ar ", "", " Ns = Ns ", "=", " Ns =", "=").Replace(m[1])
			manual = append(manual, name+" "+plain)
		}
	}
	same(t, "verbs", program, manual)
	var codes, listed []string
	for _, c := range control.Codes {
		codes = append(codes, string(c.Code))
	}
	for _, m := range codeItem.FindAllStringSubmatch(page, -1) {
		listed = append(listed, m[1])
	}
	same(t, "codes", codes, listed)
}

// TestPageDump holds the members of a dump to those on the page, both ways.
func TestPageDump(t *testing.T) {
	text, err := os.ReadFile("diagfifo.8")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), ".Bd -literal\nschema ")
	list, _, _ = strings.Cut("schema "+list, "\n.Ed")
	var told []string
	for line := range strings.Lines(list) {
		words, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		told = append(told, strings.Split(words, ", ")...)
	}
	target, err := explain.ByPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dump, _, err := (&explain.Process{ID: "svc", Target: target}).Dump(nil, explain.Extent{Smaps: true})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(dump, &members); err != nil {
		t.Fatal(err)
	}
	same(t, "members of a dump", slices.Collect(maps.Keys(members)), told)
}

func same(t *testing.T, what string, program, manual []string) {
	t.Helper()
	slices.Sort(program)
	slices.Sort(manual)
	if len(program) == 0 || !slices.Equal(program, manual) {
		t.Errorf("%s:\nprogram %q\npage    %q", what, program, manual)
	}
}
