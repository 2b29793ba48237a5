package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/gate"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hbsend": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: setup})
}

// setup makes the working directory one that is its owner's alone, whatever the
// umask.
func setup(env *testscript.Env) error {
	env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each program would linger for a second
	return os.Chmod(env.WorkDir, 0o755)
}

// The full disk is real, so it needs a mount; and only root gives files away.
func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "tmpfs", "setpriv")
	testscript.Run(t, testscript.Params{Dir: "testdata/root", Setup: setup})
}

// What a sender asks of the kernel, and what it makes of a tracer.
func TestStraceScripts(t *testing.T) {
	gate.Need(t, "strace", "ptrace")
	testscript.Run(t, testscript.Params{Dir: "testdata/strace", Setup: setup})
}
