package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/cli"
	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/sleeper"
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

// params are the scripts of a directory, in an environment without names of users.
func params(dir string) testscript.Params {
	p := sleeper.Params(dir)
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
			env.Setenv(name, "")
		}
		return setup(env)
	}
	return p
}

func TestScripts(t *testing.T) { testscript.Run(t, params("testdata")) }

// TestShells runs the same clients, which know nothing but a FIFO, in each
// shell.
func TestShells(t *testing.T) {
	gate.Need(t, "shells")
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			// Written before anything runs beside it: what is being started while a
			// program is written has that open for a moment, and then it cannot be run.
			wrapper := shellWrapper(t, shell)
			p := params("testdata/shell")
			setup := p.Setup
			p.Setup = func(env *testscript.Env) error {
				script, err := filepath.Abs("../../scripts/diag.sh")
				if err != nil {
					return err
				}
				env.Setenv("DIAGSH", script)
				return errors.Join(os.Symlink(wrapper, filepath.Join(env.WorkDir, "shell")), setup(env))
			}
			testscript.Run(t, p)
		})
	}
}

// shellWrapper makes a shell, with its arguments, one program.
func shellWrapper(t *testing.T, shell []string) string {
	t.Helper()
	path, err := exec.LookPath(shell[0])
	if err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(t.TempDir(), "shell")
	text := "#!/bin/sh\nexec " + path + " " + strings.Join(shell[1:], " ") + " \"$@\"\n"
	if err := executable.Write(wrapper, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return wrapper
}

func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "setpriv", "tmpfs")
	testscript.Run(t, params("testdata/root"))
}
