package stacks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/unwind"
)

// startGo starts testdata/goserver with a thread that no signal disturbs.
func startGo(t *testing.T, flags ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(goServer(t, flags...))
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	return launch(t, cmd)
}

// goServer builds testdata/goserver.
func goServer(t *testing.T, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "goserver")
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./testdata/goserver")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}

// A Go program has no call frame information for its runtime's last frames, and
// eu-stack goes astray there; up to them it says the same. gdb, which reads the
// debugging information, names each of our frames, and those inlined besides.
func TestGoServer(t *testing.T) {
	gate.Need(t, "elfutils", "gdb", "ptrace")
	pid := startGo(t)
	freeze(t, pid)
	p := live(t, pid)
	ours, theirs := lines(p), euStack(t, pid)
	for tid, got := range ours {
		for i, line := range got {
			if i >= len(theirs[tid]) || line != strings.TrimSuffix(theirs[tid][i], ".abi0") {
				t.Errorf("thread %d: frame %d: %s, want %q", tid, i, line, theirs[tid])
			}
		}
	}
	byGDB := gdbFunctions(t, "-p", strconv.Itoa(pid))
	for tid, got := range ours {
		rest := byGDB[tid]
		for _, line := range got {
			_, function, _ := strings.Cut(line, " ")
			for len(rest) > 0 && rest[0] != function {
				rest = rest[1:]
			}
			if len(rest) == 0 {
				t.Errorf("thread %d: gdb does not know %s: %q", tid, function, byGDB[tid])
			}
		}
	}
	if p.Threads[0].TID != pid || len(ours) < 3 {
		t.Errorf("%d threads", len(ours))
	}
	goThreads(t, p)
}

// Stripped, it still has the table that its own runtime needs.
func TestStrippedGoServer(t *testing.T) {
	gate.Need(t, "ptrace")
	for _, flags := range [][]string{{"-ldflags=-s -w"}, {"-ldflags=-s -w", "-buildmode=pie"}} {
		pid := startGo(t, flags...)
		freeze(t, pid)
		goThreads(t, live(t, pid))
	}
}

// goThreads looks for the thread that computes, and for how all of them end.
func goThreads(t *testing.T, p *Process) {
	t.Helper()
	computes := false
	for _, th := range p.Threads {
		var functions []string
		for _, f := range th.Frames {
			functions = append(functions, f.Func)
		}
		got := strings.Join(functions, " ")
		computes = computes || strings.Contains(got, strings.Repeat("main.compute ", 6)+"main.main.gowrap")
		if len(functions) > 0 && functions[0] == "runtime.clone" {
			continue // was born at this moment, and has no stack yet
		}
		if th.End != unwind.Complete && th.End != unwind.Switch || len(th.Frames) < 2 {
			t.Errorf("thread %d ends: %s: %s", th.TID, th.End, got)
		}
	}
	if !computes {
		t.Errorf("nobody computes: %v", lines(p))
	}
}
