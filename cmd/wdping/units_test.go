package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// pageUnit gives the unit of the man page that begins with a line. Its paths
// become those of the test's directory; the device, which cannot be had here, and
// with it the limit on resets, is left out.
func pageUnit(t *testing.T, first string) string {
	t.Helper()
	page, err := os.ReadFile("wdping.8")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), ".Bd -literal -offset indent\n"+first+"\n")
	text, _, _ := strings.Cut(rest, ".Ed\n")
	if !ok || !strings.Contains(text, "ExecStart=/") {
		t.Fatalf("wdping.8: no unit that begins with %s", first)
	}
	text = strings.NewReplacer("/usr/local/bin", "DIR/bin", "/run/vigil/hold", "DIR/hold", "/run/vigil/hb", "DIR",
		"/var/log", "DIR", "wdping -notify \\e\n", "wdping -notify -device none \\\n",
		"    -ledger /var/lib/vigil/ledger -max-resets 3/1h \\e\n", "", ">/dev/null", ">DIR/svc-B.out", `\e`, `\`).Replace(text)
	return first + "\n" + strings.Replace(text, "[Service]\n", "[Service]\nStandardOutput=append:DIR/svc-A.out\n", 1)
}

// TestUnitsOfThePage starts both under a real systemd: the one is ready when its
// condition holds, the other lives as long as its log does.
func TestUnitsOfThePage(t *testing.T) {
	gate.Need(t, "systemd")
	first, second := pageUnit(t, "[Unit]"), pageUnit(t, "[Service]")
	if !strings.Contains(first, "-fresh DIR/svc-A.hb=30s") || !strings.Contains(second, "WatchdogSec=30s") {
		t.Fatalf("not the units that this test is for:\n%s\n%s", first, second)
	}
	// Sooner than a page would have it, so that nobody waits for half a minute.
	second = "[Unit]\nDefaultDependencies=no\n" + strings.NewReplacer("=20s", "=15s", "WatchdogSec=30s", "WatchdogSec=2min\nWatchdogSignal=SIGKILL").Replace("[Service]\n"+strings.TrimPrefix(second, "[Service]\n"))
	m := startSystemd(t, map[string]string{
		"svc-A.service": strings.Replace(first, "[Unit]\n", "[Unit]\nDefaultDependencies=no\n", 1), "svc-B.service": second,
	})
	for name, text := range map[string][]byte{"svc-B": []byte("#!/bin/sh\nexec sleep 1000000\n"), "hbsend": vmtest.Program(t, runtime.GOARCH, "hbsend")} {
		if err := executable.Write(filepath.Join(m.dir, "bin", name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	still := m.alive(t, "svc-B.log")
	defer still()
	if err := os.Symlink("svc-B.log.life", filepath.Join(m.dir, "svc-B.log")); err != nil {
		t.Fatal(err)
	}
	a, b := service{m, t, "svc-A"}, service{m, t, "svc-B"}
	m.do(t, "start", "--no-block", "svc-A.service", "svc-B.service")
	beat := exec.Command(filepath.Join(m.dir, "bin/hbsend"), "-interval", "1s", filepath.Join(m.dir, "svc-A.hb"))
	beat.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := beat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = beat.Process.Kill()
		_ = beat.Wait()
	}()
	a.await(t, "svc-A to be ready", func() bool { return a.show("ActiveState") == "active" && a.told("feeding", 1) })
	b.await(t, "svc-B to be fed", func() bool { return b.told("feeding", 1) })
	still()
	b.await(t, "svc-B to be restarted", func() bool { return b.show("NRestarts") == "1" })
	if n := a.show("NRestarts"); n != "0" {
		t.Errorf("svc-A was restarted %s times", n)
	}
}
