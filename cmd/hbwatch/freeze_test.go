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

// TestFreeze stops the watcher for longer than every deadline, with no beat
// meanwhile: nobody may be blamed for that. Then all fall silent for good, and
// it must say so.
func TestFreeze(t *testing.T) {
	t.Parallel()
	h := &herd{t: t, dir: t.TempDir()}
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "hbwatch") // TestMain goes by the name
	if err := os.Symlink(exe, program); err != nil {
		t.Fatal(err)
	}
	events, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	count := func(word string) int {
		b, err := os.ReadFile(events.Name())
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte(word))
	}
	// during polls until ok, and for at least least; with beats twice a second.
	during := func(what string, least time.Duration, beats bool, ok func() bool) {
		t.Helper()
		begun := time.Now()
		for ; time.Since(begun) < least || !ok(); time.Sleep(500 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("%s: not within a minute", what)
			}
			if beats {
				h.beat()
			}
		}
	}

	h.beat()
	cmd := exec.Command(program, "-timeout", "6s", h.dir)
	cmd.Stdout, cmd.Stderr = events, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	during("all alive", 0, true, func() bool { return count(`"to":"alive"`) == 20 })
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	during("the freeze", 7*time.Second, false, func() bool { return true })
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	during("the stall is told", 4*time.Second, true, func() bool { return count(`"local_stall"`) > 0 })
	if n := count(`"to":"dead"`) + count(`"to":"suspect"`); n > 0 {
		t.Errorf("%d were blamed for a stall of the watcher", n)
	}
	during("the silence is found", 0, false, func() bool { return count(`"to":"dead"`) >= 20 })
}
