package contract

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
	"vigil/pkg/hold"
)

func (c *chain) held() bool {
	_, err := os.Stat(c.in("hold/svc.hold"))
	return err == nil
}

func (c *chain) lease() hold.Lease {
	c.Helper()
	l, err := hold.Parse([]byte(c.text("hold/svc.hold")), "svc")
	if err != nil {
		c.Fatal(err)
	}
	return l
}

// free waits for the hold to be released, and for nothing to be left of it: a reader
// that has just seen it may acknowledge it once more.
func (c *chain) free() {
	c.Helper()
	c.until("the release", func() bool {
		return !c.held() && len(c.left("hold/svc.ack.")) == 0 && len(c.left("../vigil-debug.")) == 0
	})
}

// left lists what has a name that begins so.
func (c *chain) left(prefix string) (found []string) {
	dir, base, _ := strings.Cut(prefix, "/")
	if base == "" {
		dir, base = ".", prefix
	}
	entries, err := os.ReadDir(c.in(dir))
	if err != nil {
		c.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base) {
			found = append(found, e.Name())
		}
	}
	return found
}

func TestDebugBecomesTheCommand(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		c.serve()
		c.watch()
		c.background("wdping", "wdping", "-device", "none", "-fresh", c.in("hb/svc.hb")+"=1h", "-hold="+c.in("hold"))
		c.until("wdping", func() bool { return c.text("wdping") != "" })
		got := c.do(7, nil, "vigil-debug", "-n", "svc", "--", "/bin/sh", "-c",
			`ls "$VIGIL_DIR/hold"; echo "$VIGIL_ID $VIGIL_PID $*"; cat; exit 7`, "sh", "{}", "a b")
		want := fmt.Sprintf("svc.ack.hbsend\nsvc.ack.hbwatch\nsvc.ack.wdping\nsvc.hold\nsvc %d %d a b\n", c.pid, c.pid)
		if got.stdout != want {
			c.Errorf("stdout %q, want %q", got.stdout, want)
		}
		if want := fmt.Sprintf("vigil-debug: svc: pid %d, held, acknowledged by ", c.pid); !strings.HasPrefix(got.stderr, want) {
			c.Errorf("stderr %q, want %q", got.stderr, want)
		}
		c.free()
		// At once again: it waits for the release of the one before.
		for range 2 {
			c.do(0, nil, "vigil-debug", "-n", "svc", "--", "true")
		}
		c.free()
	})
}

func TestDebugStandsBack(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		c.serve()
		watcher := c.watch()
		refused := func(code int, want string, args ...string) {
			c.Helper()
			got := c.do(code, nil, "vigil-debug", args...)
			if !strings.HasPrefix(got.stderr, "vigil-debug: error: ") || !strings.Contains(strings.Replace(got.stderr, " by hbsend, ", " by ", 1), want) || got.stdout != "" {
				c.Errorf("vigil-debug %q: %+v, want %q", args, got, want)
			}
			c.free()
		}
		touch := c.in("touched")
		if err := watcher.Signal(syscall.SIGSTOP); err != nil {
			c.Fatal(err)
		}
		// Within a second, hbsend may have done so or not.
		refused(1, "svc: held, but not acknowledged by hbwatch, elsewhere\n", "-W", "1s", "-w", "elsewhere", "svc", "--", "touch", touch)
		if err := watcher.Signal(syscall.SIGCONT); err != nil {
			c.Fatal(err)
		}
		refused(100, "no-such-program", "svc", "--", "no-such-program")
		refused(100, "SVC ../x", "../x")
		refused(100, "unexpected argument: gdb", "svc", "gdb")
		refused(100, "-t 1s: want 10s at least", "-t", "1s", "svc")
		refused(100, "want a time", "-t", "soon", "svc")
		refused(111, "hb/other.hb: no such heartbeat", "other", "--", "touch", touch)
		refused(111, "no such process", "-p", "9999999", "svc", "--", "touch", touch)
		refused(111, c.in("none")+": cannot be read", "-p", c.in("none"), "svc", "--", "touch", touch)

		blind := c.background("blind", "hbwatch", "-timeout", "1h", c.in("hb/svc.hb"))
		c.until("it watches", func() bool { return c.text("blind") != "" })
		refused(1, fmt.Sprintf("svc: watched by hbwatch (pid %d) without -hold", blind.Pid), "svc", "--", "touch", touch)
		c.do(0, nil, "vigil-debug", "-fn", "svc", "--", "true")
		c.free()
		if err := blind.Kill(); err != nil {
			c.Fatal(err)
		}
		c.until("its end", func() bool { return state(c.T, blind.Pid) == "Z" })

		c.do(0, nil, "hb.sh", "hold", c.in("hold"), "svc", "1m", "somebody")
		got := c.do(1, []string{"USER=me"}, "vigil-debug", "svc", "--", "touch", touch)
		if !strings.Contains(got.stderr, "svc: held") || !strings.Contains(got.stderr, "somebody") || !c.held() {
			c.Errorf("held by another: %q", got.stderr)
		}
		if _, err := os.Stat(touch); err == nil {
			c.Error("the command ran")
		}
	})
}

// TestDebugEnds: whatever ends it, the hold is released; where nothing can
// release it any more, it ends by itself.
func TestDebugEnds(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		c.serve()
		watcher := c.watch()
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			c.endsBy(sig, func() bool { return strings.Contains(c.text("debug"), "running") })
		}
		// While it waits for an acknowledgement.
		if err := watcher.Signal(syscall.SIGSTOP); err != nil {
			c.Fatal(err)
		}
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
			c.endsBy(sig, func() bool { return c.held() })
		}
		if err := watcher.Signal(syscall.SIGCONT); err != nil {
			c.Fatal(err)
		}
		cmd := c.script("vigil-debug", "-n", "-t", "10s", "svc", "--", "sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			c.Fatal(err)
		}
		c.until("the hold", c.held)
		first := c.lease()
		c.until("its renewal", func() bool { return c.held() && c.lease().UntilMS > first.UntilMS })
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			c.Fatal(err)
		}
		_ = cmd.Wait()
		l := c.lease()
		if left := l.UntilMS - boottime.Now().Milliseconds(); left > 10_000 || l.Nonce != first.Nonce {
			c.Errorf("%d ms left of a hold for 10 s: %+v", left, l)
		}
	})
}

// TestDebugTellsThatTheHoldIsGone: somebody else has released it.
func TestDebugTellsThatTheHoldIsGone(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		c.serve()
		output, err := os.Create(c.in("debug"))
		if err != nil {
			c.Fatal(err)
		}
		cmd := c.script("vigil-debug", "-n", "-t", "10s", "svc", "--", "sleep", "1000")
		cmd.Stdout, cmd.Stderr = output, output
		if err := errors.Join(cmd.Start(), output.Close()); err != nil {
			c.Fatal(err)
		}
		c.until("the hold", c.held)
		c.until("it runs", func() bool { return strings.Contains(c.text("debug"), "held, acknowledged by hbsend\n") })
		if got := run(c.T, nil, c.tree+"/dist/diagfifo", "release", "-dir", c.in("hold"), "-force", "svc"); got.code != 0 {
			c.Fatalf("release: %+v", got)
		}
		c.until("the warning", func() bool {
			return strings.Contains(c.text("debug"), "warning: svc: the hold is gone; whoever watches it will act\n")
		})
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// endsBy sends a signal to vigil-debug when it has come so far.
func (c *chain) endsBy(sig syscall.Signal, ready func() bool) {
	c.Helper()
	if err := os.WriteFile(c.in("debug"), nil, 0o644); err != nil {
		c.Fatal(err)
	}
	output, err := os.Create(c.in("debug"))
	if err != nil {
		c.Fatal(err)
	}
	cmd := c.script("vigil-debug", "-n", "svc", "--", "/bin/sh", "-c", "echo running; exec sleep 1000")
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	_ = output.Close()
	c.until("it runs", ready)
	if err := cmd.Process.Signal(sig); err != nil {
		c.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.Success() {
		c.Errorf("%v: success", sig)
	}
	c.free()
}

// TestDebugWithGdb: a service that counts as dead after six seconds of silence
// stands in gdb for ten, and nobody raises an alarm; when it still stands after
// the release, somebody does.
func TestDebugWithGdb(t *testing.T) {
	gate.Need(t, "gdb", "ptrace")
	c := scripted(t, []string{"/bin/sh"})
	hook := c.in("hook")
	if err := executable.Write(hook, []byte("#!/bin/sh\necho \"$HB_TO\" >>"+c.in("hooked")+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.serve()
	c.watch("-timeout", "svc=6s", "-on-change", hook)
	c.background("wdping", "wdping", "-device", "none", "-fresh", c.in("hb/svc.hb")+"=6s", "-hold", c.in("hold"))
	c.until("wdping feeds", func() bool { return strings.Contains(c.text("wdping"), `"event":"feeding"`) })
	cmd := c.script("vigil-debug", "svc")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(c.in("gdb"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stands := func() bool { return state(t, c.pid) == "t" }
	c.until("gdb stops the service", stands)
	begun := boottime.Now()
	if _, err := io.WriteString(input, "thread apply all bt\nshell sleep 10\nshow non-stop\nshow pagination\n"); err != nil {
		t.Fatal(err)
	}
	c.until("ten seconds in gdb", func() bool { return strings.Contains(c.text("gdb"), "tate of pagination is off") })
	if stood := boottime.Now() - begun; stood < 10*time.Second || !stands() {
		t.Errorf("stood for %v, state %s", stood, state(t, c.pid))
	}
	_ = input.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, c.text("gdb"))
	}
	c.free()
	for _, want := range []string{"mode is on", "#0 ", "acknowledged by hb"} {
		if !strings.Contains(c.text("gdb"), want) {
			t.Errorf("gdb: no %q in\n%s", want, c.text("gdb"))
		}
	}
	if strings.Contains(c.text("gdb"), "vigil.gdb:") {
		t.Errorf("gdb does not take vigil.gdb:\n%s", c.text("gdb"))
	}
	c.until("alive again", func() bool { return strings.Contains(c.text("events"), `"from":"held","to":"alive"`) })
	if alarms := c.alarms(); len(alarms) > 0 {
		t.Errorf("alarms: %q", alarms)
	}
	if hooked := c.text("hooked"); strings.Contains(hooked, "suspect") || strings.Contains(hooked, "dead") {
		t.Errorf("hook: %q", hooked)
	}
	if text := c.text("wdping"); strings.Contains(text, `"event":"starving"`) {
		t.Errorf("wdping: %s", text)
	}
	c.staysStopped()
}

// staysStopped leaves the service stopped after the release.
func (c *chain) staysStopped() {
	c.Helper()
	got := c.do(0, nil, "vigil-debug", "-n", "svc", "--", "kill", "-STOP", "{}")
	if want := "stands still; kill -CONT " + strconv.Itoa(c.pid); !strings.Contains(got.stderr, want) {
		c.Errorf("no %q in %q", want, got.stderr)
	}
	c.free()
	c.until("the alarm", func() bool { return strings.Contains(c.text("hooked"), "dead") })
	var dead string
	for _, line := range c.alarms() {
		if strings.Contains(line, `"to":"dead"`) {
			dead = line
		}
	}
	// Silent for the six seconds since the release, and not since the last beat.
	if !strings.Contains(dead, `"reason":"timeout"`) {
		c.Errorf("%s", dead)
	}
	c.Logf("%s", dead)
}
