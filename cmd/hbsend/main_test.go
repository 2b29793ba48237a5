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
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// A run directory is its owner's alone, whatever the umask.
			return os.Chmod(env.WorkDir, 0o755)
		},
	})
}

// The full disk is real, so it needs a mount.
func TestFullDiskScript(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	testscript.Run(t, testscript.Params{Dir: "testdata/root"})
}
