package capture

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// edges are targets with a catch. Modes that must refuse them are named; auto
// takes what is left.
var edges = []struct {
	mode    string
	refuse  string // modes, separated by spaces
	auto    string
	as      uint32 // uid
	spawned syscall.SysProcAttr
}{
	{mode: "seccomp", auto: "fork"},
	{mode: "waits", auto: "fork"},
	{mode: "sleeps", auto: "fork", spawned: syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWIPC}}, // its semaphore goes with it
	{mode: "stay", auto: "fork"},
	{mode: "uffd", refuse: "precopy", auto: "fork"},
	{mode: "uffd-fork", refuse: "precopy fork", auto: "stop"},
	{mode: "uffd-left", auto: "fork"}, // as a killed capture may leave it
	{mode: "io_uring", refuse: "precopy", auto: "fork"},
	{mode: "xdp", refuse: "precopy", auto: "fork"},
	{mode: "huge", auto: "fork"},
	{mode: "nproc", refuse: "fork", auto: "stop", as: 65533},
	{mode: "plain", auto: "fork", spawned: syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}}, // pid 1 there
}

func TestEdges(t *testing.T) {
	gate.Need(t, "root", "gcc", "ptrace", "precopy")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "edge")
	if out, err := exec.Command("gcc", "-O1", "-g", "-pthread", "-o", path, "testdata/edge.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	hugePages(t)
	for _, e := range edges {
		t.Run(e.mode, func(t *testing.T) {
			file := filepath.Join(dir, e.mode)
			if err := os.WriteFile(file, make([]byte, page), 0o666); err != nil {
				t.Fatal(err)
			}
			os.Chmod(file, 0o666)
			cmd := exec.Command(path, e.mode, file)
			attr := e.spawned
			if e.as != 0 {
				attr.Credential = &syscall.Credential{Uid: e.as, Gid: e.as}
			}
			cmd.SysProcAttr = &attr
			l := launch(t, cmd)
			l.file = file
			for _, mode := range []string{"precopy", "fork", "stop", Auto} {
				l.edge(t, mode, strings.Contains(" "+e.refuse+" ", " "+mode+" "), e.auto)
			}
		})
	}
}

// edge captures the target 20 times, or sees that it is refused, and that it has
// not noticed.
func (l *live) edge(t *testing.T, mode string, refused bool, auto string) {
	t.Helper()
	core := filepath.Join(t.TempDir(), "a.core")
	for range 20 {
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		r, err := target.Save(t.Context(), core, Options{Mode: mode}, About{})
		target.Close()
		switch {
		case refused && !errors.Is(err, errUnfit):
			t.Fatalf("%s: %v, want it refused", mode, err)
		case refused:
		case err != nil:
			t.Fatalf("%s: %v", mode, err)
		case mode == Auto && r.Mode != auto || r.Left != "":
			t.Fatalf("%s: mode %s, left %q: %s", mode, r.Mode, r.Left, r.Reason)
		default:
			l.told(t, mode, core)
		}
		os.Remove(core)
		os.Remove(sidecarPath(core))
	}
	l.goesOn(t)
	if c := l.counters(t); c[1] != 0 {
		t.Errorf("%s: the target noticed %d things", mode, c[1])
	}
	if left, err := procfs.Children(l.pid); err != nil || len(left) > 0 {
		t.Errorf("%s: children %v, %v", mode, left, err)
	}
}

// told looks for the memory that the target told of.
func (l *live) told(t *testing.T, mode, core string) {
	t.Helper()
	f, err := elf.Open(core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := map[string]byte{"plain": 'a', "dontfork": 'f', "wipeonfork": 'w', "followed": 'u', "pinned": 'p', "huge": 'h'}
	for _, line := range l.lines {
		var name string
		var addr, size uint64
		if _, err := fmt.Sscanf(line, "%s %x %x", &name, &addr, &size); err != nil {
			t.Fatal(err)
		}
		if got := readCore(t, f, addr, size); !bytes.Equal(got, bytes.Repeat([]byte{want[name]}, int(size))) {
			t.Errorf("%s: %s is not as it was", mode, name)
		}
	}
}

// hugePages sees to it that there are two huge pages, until the end of the test.
func hugePages(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(before)))
	if err := os.WriteFile(file, []byte(strconv.Itoa(n+2)), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(file, before, 0) })
}
