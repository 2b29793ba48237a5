package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/contract/sleeper"
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

func TestLiveScripts(t *testing.T) {
	gate.Need(t, "ptrace")
	testscript.Run(t, sleeper.Params("testdata/live"))
}

func TestTracedScripts(t *testing.T) {
	gate.Need(t, "ptrace", "strace")
	testscript.Run(t, sleeper.Params("testdata/traced"))
}

// The full disk is real, so it needs a mount.
func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "ptrace", "tmpfs")
	testscript.Run(t, sleeper.Params("testdata/root"))
}
