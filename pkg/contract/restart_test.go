package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
)

// supervised makes the directory of a service that runs for ever, as runit and
// s6 have it, and starts its supervisor.
func (c *chain) supervised(supervisor string) (dir string) {
	c.Helper()
	dir = c.in("services/svc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.Fatal(err)
	}
	run := fmt.Sprintf("#!/bin/sh\necho $$ >%s\nexec sleep 100000\n", c.in("svc.pid"))
	if err := executable.Write(filepath.Join(dir, "run"), []byte(run), 0o755); err != nil {
		c.Fatal(err)
	}
	path, err := exec.LookPath(supervisor)
	if err != nil {
		c.Fatal(err)
	}
	// Called after the supervisor is killed: nothing starts it again.
	c.Cleanup(c.finish)
	c.background("supervisor", path, dir)
	c.until("the service runs", func() bool { return c.running() != 0 })
	return dir
}

// running is the process that the service is now.
func (c *chain) running() int {
	pid, err := strconv.Atoi(strings.TrimSpace(c.text("svc.pid")))
	if err != nil {
		return 0
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if string(comm) != "sleep\n" {
		return 0
	}
	return pid
}

// finish kills the service, if it runs: the number 0 would be of whoever asks.
func (c *chain) finish() {
	if pid := c.running(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// restarts has a supervisor restart the service, which stands still.
func (c *chain) restarts(args ...string) {
	c.Helper()
	old := c.running()
	if err := syscall.Kill(old, syscall.SIGSTOP); err != nil {
		c.Fatal(err)
	}
	got := c.do(0, c.event("suspect", "dead"), "vigil-restart", args...)
	if !strings.Contains(got.stderr, " was asked to restart it\n") {
		c.Errorf("stderr %q", got.stderr)
	}
	c.until("another process", func() bool { now := c.running(); return now != 0 && now != old })
}

func TestRestartByRunit(t *testing.T) {
	gate.Need(t, "runit")
	scriptedUnderEveryShell(t, func(c *chain) {
		dir := c.supervised("runsv")
		c.restarts("-e", "-s", "runit", "-u", dir)
		c.restarts("-e", "-u", dir) // it is found
		c.leavesDown(dir, []string{"sv", "status", dir}, "down", "sv", "down", dir)
	})
}

func TestRestartByS6(t *testing.T) {
	gate.Need(t, "s6")
	scriptedUnderEveryShell(t, func(c *chain) {
		dir := c.supervised("s6-supervise")
		c.restarts("-e", "-s", "s6", "-u", dir)
		c.restarts("-e", "-u", dir)
		c.leavesDown(dir, []string{"s6-svstat", "-o", "wantedup", dir}, "false", "s6-svc", "-d", dir)
	})
}

// leavesDown tells a supervisor to end the service: then the hook does not have it
// started, but who asks by hand does.
func (c *chain) leavesDown(dir string, says []string, told string, down ...string) {
	c.Helper()
	if got := run(c.T, c.env, down...); got.code != 0 {
		c.Fatalf("%q: %+v", down, got)
	}
	c.until("the service ends", func() bool { return c.running() == 0 })
	// A supervisor may write down what it was told after it has done it.
	c.until("the supervisor says so", func() bool { return strings.Contains(run(c.T, c.env, says...).stdout, told) })
	got := c.do(1, c.event("suspect", "dead"), "vigil-restart", "-e", "-u", dir)
	if !strings.Contains(got.stderr, "has been told to leave it down: left alone\n") {
		c.Errorf("stderr %q", got.stderr)
	}
	c.do(0, []string{"HB_ID=", "HB_TO="}, "vigil-restart", "-e", "-m", "9/1h", "-u", dir, "svc")
	c.until("the service runs", func() bool { return c.running() != 0 })
}

// TestRestartOfWhatHasEnded: whoever started it is given the time to do so again.
func TestRestartOfWhatHasEnded(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		program, evidence := c.recorder("program"), c.recorder("evidence")
		event := append(c.event("alive", "failed"), "HB_PID=4194304") // more than there can be
		c.beat(c.sleeper())
		got := c.do(0, event, "vigil-restart", "-s", program, "-i", evidence)
		if want := "evidence  svc failed\n"; c.text("record") != want || !strings.Contains(got.stderr, "svc: was started again already\n") {
			c.Errorf("started again: record %q, %q", c.text("record"), got.stderr)
		}
		c.beat(4194304)
		c.do(0, event, "vigil-restart", "-s", program, "-i", evidence)
		if want := "evidence  svc failed\nevidence  svc failed\nprogram  svc failed\n"; c.text("record") != want {
			c.Errorf("gone: record %q, want %q", c.text("record"), want)
		}
	})
}

// TestRestartOfWhatEndsMeanwhile: evidence takes its time, in which another one who
// watches the service, as systemd does, may have had it started again.
func TestRestartOfWhatEndsMeanwhile(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		program, old := c.recorder("program"), c.sleeper()
		c.beat(c.background("next", "/bin/sleep", "100000").Pid)
		if err := os.Rename(c.in("hb/svc.hb"), c.in("beat")); err != nil {
			c.Fatal(err)
		}
		c.beat(old)
		evidence := c.in("evidence")
		text := fmt.Sprintf("#!/bin/sh\nkill -KILL $HB_PID\nmv %s %s\n", c.in("beat"), c.in("hb/svc.hb"))
		if err := executable.Write(evidence, []byte(text), 0o755); err != nil {
			c.Fatal(err)
		}
		event := append(c.event("suspect", "dead"), fmt.Sprintf("HB_PID=%d", old))
		got := c.do(0, event, "vigil-restart", "-s", program, "-i", evidence)
		if c.text("record") != "" || !strings.Contains(got.stderr, "svc: was started again already\n") {
			c.Errorf("record %q, %q", c.text("record"), got.stderr)
		}
	})
}

// TestKeepInsists: a signal that comes before a shell has become the program is lost
// there. Who keeps it ends all the same.
func TestKeepInsists(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		deaf := fmt.Sprintf("#!/bin/sh\nheard=\ntrap 'heard=yes' TERM\n: >%s\nuntil [ -n \"$heard\" ]; do sleep 0.05; done\ntrap - TERM\nexec sleep 100000\n", c.in("begun"))
		if err := executable.Write(c.in("deaf"), []byte(deaf), 0o755); err != nil {
			c.Fatal(err)
		}
		cmd := c.script("service/sysvinit/keep", c.in("deaf"))
		if err := cmd.Start(); err != nil {
			c.Fatal(err)
		}
		c.until("it has begun", func() bool { _, err := os.Stat(c.in("begun")); return err == nil })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			c.Fatal(err)
		}
		c.until("its end", func() bool { return state(c.T, cmd.Process.Pid) == "Z" })
		if err := cmd.Wait(); err != nil {
			c.Error(err)
		}
	})
}

// TestRestartByRespawn: a loop starts the service again; the script ends it,
// by force if need be, and no process that the heartbeat may not name.
func TestRestartByRespawn(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		loop := c.background("loop", "/bin/sh", "-c", `while :; do sleep 100000 & echo $! >"$1"; wait; done`, "sh", c.in("svc.pid"))
		c.Cleanup(func() {
			_ = loop.Kill()
			c.finish()
		})
		c.until("the service runs", func() bool { return c.running() != 0 })
		c.beat(c.running())
		c.restarts("-e", "-s", "respawn")
		// It may hang before it has beaten.
		c.beat(1 << 22)
		c.restarts("-e", "-s", "respawn")
		if err := os.Rename(c.in("svc.pid"), c.in("away")); err != nil {
			c.Fatal(err)
		}
		defer func() { _ = os.Rename(c.in("away"), c.in("svc.pid")) }()
		got := c.do(111, c.event("suspect", "dead"), "vigil-restart", "-e", "-s", "respawn")
		if !strings.Contains(got.stderr, "names no process of its owner") {
			c.Errorf("stderr %q", got.stderr)
		}
	})
}

// recorder makes a program that writes down how it was run.
func (c *chain) recorder(name string) string {
	c.Helper()
	path := c.in(name)
	text := fmt.Sprintf("#!/bin/sh\necho \"%s $* $HB_ID $HB_TO\" >>%s\n", name, c.in("record"))
	if err := executable.Write(path, []byte(text), 0o755); err != nil {
		c.Fatal(err)
	}
	return path
}

func TestRestartAsksAProgram(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		program, evidence := c.recorder("program"), c.recorder("evidence")
		ask := func(code int, want, from, to string, args ...string) result {
			c.Helper()
			_ = os.Remove(c.in("record"))
			got := c.do(code, c.event(from, to), "vigil-restart", append([]string{"-s", program, "-i", evidence, "-m", "3/1h"}, args...)...)
			if c.text("record") != want {
				c.Errorf("%s: record %q, want %q", to, c.text("record"), want)
			}
			return got
		}
		// Evidence of whatever happens, and first.
		ask(0, "evidence  svc suspect\n", "alive", "suspect")
		ask(0, "evidence  svc dead\nprogram  svc dead\n", "suspect", "dead")
		ask(0, "evidence  svc alive\n", "dead", "alive")
		ask(0, "", "alive", "failed", "-n")
		ask(0, "program  svc failed\n", "alive", "failed", "-e")
		// Not while somebody debugs it.
		nonce := strings.TrimSpace(c.do(0, nil, "hb.sh", "hold", c.in("hold"), "svc", "10m", "gdb").stdout)
		if got := ask(1, "", "suspect", "dead"); !strings.Contains(got.stderr, "svc: held by ") {
			c.Errorf("held: %q", got.stderr)
		}
		c.do(0, nil, "hb.sh", "release", c.in("hold"), "svc", nonce)
		stale := strings.Repeat("0", 32)
		for name, line := range map[string]string{
			"another boot": `{"v":1,"id":"svc","by":"x","boot":"` + stale + `","since_bt_ms":1,"until_bt_ms":99999999999}`,
			"over":         `{"v":1,"id":"svc","by":"x","boot":"` + c.bootID() + `","since_bt_ms":1,"until_bt_ms":2}`,
			"no hold":      `until_bt_ms`,
		} {
			if err := os.WriteFile(c.in("hold/svc.hold"), []byte(line+"\n"), 0o644); err != nil {
				c.Fatal(err)
			}
			if got := c.do(0, c.event("suspect", "dead"), "vigil-restart", "-n", "-s", program); !strings.Contains(got.stderr, "would ask") {
				c.Errorf("%s: %q", name, got.stderr)
			}
		}
		if err := os.Remove(c.in("hold/svc.hold")); err != nil {
			c.Fatal(err)
		}
		// By hand, and then no more.
		_ = os.Remove(c.in("record"))
		c.do(0, []string{"HB_ID=", "HB_TO="}, "vigil-restart", "-s", program, "-i", evidence, "svc")
		if got := c.text("record"); got != "evidence  svc asked\nprogram  svc asked\n" {
			c.Errorf("by hand: %q", got)
		}
		if got := ask(1, "", "suspect", "dead"); !strings.Contains(got.stderr, "svc: restarted 3 times in 1h: left to people\n") {
			c.Errorf("too often: %q", got.stderr)
		}
		// The restarts of an earlier boot do not count.
		if err := os.WriteFile(c.in("restart/svc"), []byte(strings.Repeat("00000000 1\n", 9)+"rubbish\n\x00\n"), 0o600); err != nil {
			c.Fatal(err)
		}
		ask(0, "evidence  svc dead\nprogram  svc dead\n", "suspect", "dead")
	})
}

func (c *chain) bootID() string {
	c.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		c.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
}

func TestRestartRefuses(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		failing := c.in("failing")
		if err := executable.Write(failing, []byte("#!/bin/sh\nexit 4\n"), 0o755); err != nil {
			c.Fatal(err)
		}
		dead := c.event("suspect", "dead")
		for _, test := range []struct {
			code int
			want string
			env  []string
			args []string
		}{
			{100, "want an ID, or HB_ID", []string{"HB_ID=", "HB_TO="}, nil},
			{100, "id a/b", []string{"HB_ID=a/b", "HB_TO=dead"}, nil},
			{100, "-m 3: want a number and a time", nil, []string{"-m", "3", "svc"}},
			{100, "-m 0/1m: want", nil, []string{"-m", "0/1m", "svc"}},
			{100, "-s init: want", nil, []string{"-s", "init", "svc"}},
			{100, "-u -x: want", nil, []string{"-u", "-x", "svc"}},
			{100, "no supervisor of this host knows it", dead, []string{"-e", "-u", "no-such-service"}},
			{100, "runit does not know it", dead, []string{"-e", "-s", "runit", "-u", c.in("hb")}},
			{100, "/nonexistent: not a program", dead, []string{"-e", "-s", "/nonexistent"}},
			{111, "svc: " + failing + ": exit status 4", dead, []string{"-e", "-s", failing}},
			{111, "evidence: exit status 4", dead, []string{"-i", failing, "-s", failing}},
		} {
			if got := c.do(test.code, test.env, "vigil-restart", test.args...); !strings.Contains(got.stderr, test.want) {
				c.Errorf("%q: %q, want %q", test.args, got.stderr, test.want)
			}
		}
	})
}

// TestRestartBySystemdAndOpenRC: what these are asked. They run the host or not
// at all; programs of their names write down what they were called with.
func TestRestartBySystemdAndOpenRC(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	const script = `
		mount -t tmpfs vigil /run
		mkdir -p "/run/$1"
		[ "$1" != openrc ] || : >/run/openrc/softlevel
		shift
		exec "$@"`
	scriptedUnderEveryShell(t, func(c *chain) {
		c.recorder("systemctl")
		c.recorder("rc-service")
		for marker, want := range map[string]string{
			"systemd/system": "systemctl cat -- web.service svc dead\nsystemctl --no-block restart -- web.service svc dead\n",
			"openrc":         "rc-service -e web.service svc dead\nrc-service web.service restart svc dead\n",
		} {
			_ = os.Remove(c.in("record"))
			argv := slices.Concat([]string{"/bin/sh", "-c", script, "sh", marker}, c.shell,
				[]string{filepath.Join(c.tree, "scripts/vigil-restart"), "-e", "-u", "web.service"})
			cmd := exec.CommandContext(c.Context(), argv[0], argv[1:]...)
			cmd.Env = append(append(c.env, c.event("suspect", "dead")...), "PATH="+c.dir+":"+os.Getenv("PATH"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if output, err := cmd.CombinedOutput(); err != nil || c.text("record") != want {
				c.Errorf("%s: %v\n%s\nrecord %q, want %q", marker, err, output, c.text("record"), want)
			}
		}
	})
}
