package main

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/gate"
)

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"corecap": main})
}

// tidy removes what the tests have compiled once for all.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	code := m.M.Run()
	if programsDir != "" {
		os.RemoveAll(programsDir)
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// params gives each script the PID of a sleeping process.
func params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			sleeper := exec.Command("sleep", "600")
			if err := sleeper.Start(); err != nil {
				return err
			}
			env.Defer(func() {
				sleeper.Process.Kill()
				sleeper.Wait()
			})
			env.Setenv("PID", strconv.Itoa(sleeper.Process.Pid))
			return nil
		},
	}
}

func TestLiveScripts(t *testing.T) {
	gate.Need(t, "ptrace")
	testscript.Run(t, params("testdata/live"))
}

func TestTracedScripts(t *testing.T) {
	gate.Need(t, "ptrace", "strace")
	testscript.Run(t, params("testdata/traced"))
}

// The full disk is real, so it needs a mount.
func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "ptrace", "tmpfs")
	testscript.Run(t, params("testdata/root"))
}
