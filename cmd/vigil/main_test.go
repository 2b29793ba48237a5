package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/gate"
)

func TestMain(m *testing.M) {
	commands := map[string]func(){"vigil": main}
	for name := range tools {
		commands[name] = main // as by a link
	}
	testscript.Main(m, commands)
}

// params gives each script the PID of a sleeping process.
func params() testscript.Params {
	return testscript.Params{Setup: func(env *testscript.Env) error {
		sleeper := exec.Command("sleep", "600")
		if err := sleeper.Start(); err != nil {
			return err
		}
		env.Defer(func() {
			_ = sleeper.Process.Kill()
			_ = sleeper.Wait()
		})
		env.Setenv("PID", strconv.Itoa(sleeper.Process.Pid))
		// A run directory is its owner's alone, whatever the umask.
		return os.Chmod(env.WorkDir, 0o755)
	}}
}

func TestScripts(t *testing.T) {
	p := params()
	p.Dir = "testdata"
	testscript.Run(t, p)
}

// TestTools has scripts of the five, of those that need nothing of their package,
// go through the one program.
func TestTools(t *testing.T) {
	p := params()
	for _, glob := range []string{"hbsend/testdata/[bhpu]*", "diagfifo/testdata/[ahtu]*", "corecap/testdata/*", "hbwatch/testdata/usage", "wdping/testdata/[cdhu]*"} {
		files, err := filepath.Glob("../" + glob + ".txtar")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no scripts: %v", glob, err)
		}
		for _, file := range files {
			sub := p
			sub.Files = []string{file} // one by one: names repeat
			t.Run(filepath.Base(filepath.Dir(filepath.Dir(file))), func(t *testing.T) {
				t.Parallel()
				testscript.Run(t, sub)
			})
		}
	}
}

// TestCaptures: what starts its own file again has to name the tool.
func TestCaptures(t *testing.T) {
	gate.Need(t, "ptrace")
	p := params()
	p.Dir = "testdata/ptrace"
	testscript.Run(t, p)
}
