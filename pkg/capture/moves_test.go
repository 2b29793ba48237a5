package capture

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/spool"
)

// TestMovesAreWhole captures, again and again, a target whose mappings change and
// move all the time: it must never find one torn apart.
func TestMovesAreWhole(t *testing.T) {
	gate.Need(t, "gcc", "ptrace", "precopy")
	const runs = 100
	dir := t.TempDir()
	path := filepath.Join(dir, "moves")
	if out, err := exec.Command("gcc", "-O1", "-g", "-pthread", "-o", path, "testdata/moves.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	l := launch(t, exec.Command(path))
	for run := range runs {
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		file, err := spool.Create(filepath.Join(dir, "core"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = target.Capture(context.Background(), &bounded{File: file}, Options{Mode: precopyMode})
		target.Close()
		file.Discard()
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
	}
}
