package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// herd is many senders that beat at the test's command.
type herd struct {
	t   *testing.T
	dir string
	seq int
}

func (h *herd) beat() {
	h.t.Helper()
	h.seq++
	for i := range 20 {
		args := []string{"-interval", "2s", "-seq", strconv.Itoa(h.seq), fmt.Sprintf("svc-%d.hb", i)}
		if err := beat(func(name string) string { return filepath.Join(h.dir, name) }, args); err != nil {
			h.t.Fatal(err)
		}
	}
}

// start runs hbwatch on the herd and gives it with the file of its events.
func (h *herd) start(args ...string) (cmd *exec.Cmd, events string) {
	t := h.t
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "hbwatch") // TestMain goes by the name
	if err := os.Symlink(exe, program); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd = exec.Command(program, append(args, h.dir)...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, out.Name()
}

// during polls until ok, and for at least least; with beats twice a second.
func (h *herd) during(what string, least time.Duration, beats bool, ok func() bool) {
	h.t.Helper()
	begun := time.Now()
	for ; time.Since(begun) < least || !ok(); time.Sleep(500 * time.Millisecond) {
		if time.Since(begun) > 5*time.Minute {
			h.t.Fatalf("%s: not within five minutes", what)
		}
		if beats {
			h.beat()
		}
	}
}

// TestFreeze stops the watcher for longer than every deadline, with no beat
// meanwhile: nobody may be blamed for that. Then all fall silent for good, and
// it must say so.
func TestFreeze(t *testing.T) {
	t.Parallel()
	h := &herd{t: t, dir: inMemory(t)}
	h.beat()
	cmd, events := h.start("-timeout", "12s")
	count := func(word string) int {
		b, err := os.ReadFile(events)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte(word))
	}
	h.during("all alive", 0, true, func() bool { return count(`"to":"alive"`) == 20 })
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.during("the freeze", 13*time.Second, false, func() bool { return true })
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.during("the stall is told", 4*time.Second, true, func() bool { return count(`"local_stall"`) > 0 })
	if n := count(`"to":"dead"`) + count(`"to":"suspect"`); n > 0 {
		t.Errorf("%d were blamed for a stall of the watcher", n)
	}
	h.during("the silence is found", 0, false, func() bool { return count(`"to":"dead"`) >= 20 })
}
