package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/contract/sleeper"
	"vigil/pkg/gate"
)

func TestMain(m *testing.M) {
	commands := map[string]func(){"vigil": main}
	for name := range tools {
		commands[name] = main // as by a link
	}
	testscript.Main(m, commands)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, sleeper.Params("testdata"))
}

// TestTools has scripts of the five, of those that need nothing of their package,
// go through the one program.
func TestTools(t *testing.T) {
	p := sleeper.Params("")
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
	testscript.Run(t, sleeper.Params("testdata/ptrace"))
}
