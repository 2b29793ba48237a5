package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wdping": main})
}

// No script names a device that could be a watchdog: each -device is none, or
// lies in the script's own directory, or is only asked for its -status.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// A run directory is its owner's alone, whatever the umask.
			return os.Chmod(env.WorkDir, 0o755)
		},
	})
}
