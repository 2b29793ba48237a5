package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/cli"
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
