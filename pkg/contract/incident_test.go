package contract

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/boottime"
	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
)

// incidents lists the directories of svc, the oldest first.
func (c *chain) incidents() (found []string) {
	c.Helper()
	entries, err := os.ReadDir(c.in("../spool/incident"))
	if err != nil && !os.IsNotExist(err) {
		c.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func (c *chain) summary(incident string) string {
	return c.text("../spool/incident/" + incident + "/summary.txt")
}

// hook makes the hook that a user would write: a script under this shell, with
// what a hook does not inherit.
func (c *chain) hook(name string, args ...string) string {
	c.Helper()
	argv := slices.Concat(c.shell, []string{filepath.Join(c.tree, "scripts", name)}, args)
	text := fmt.Sprintf("#!/bin/sh\nPATH=%s:$PATH VIGIL_SPOOL=%s exec %s\n",
		filepath.Join(c.tree, "dist"), c.in("../spool"), strings.Join(argv, " "))
	path := c.in("hook-" + name)
	if err := executable.Write(path, []byte(text), 0o755); err != nil {
		c.Fatal(err)
	}
	return path
}

// event is what hbwatch tells a hook about svc.
func (c *chain) event(from, to string) []string {
	return []string{"HB_ID=svc", "HB_FROM=" + from, "HB_TO=" + to, "HB_PID=", "HB_AGE_MS=1234", "HB_FILE=" + c.in("hb/svc.hb"), "HB_REASON=timeout"}
}

// sleeper is a process of the test's own: there can be one tracer only.
func (c *chain) sleeper() int { return c.background("sleeper", "/bin/sleep", "100000").Pid }

// beat writes a heartbeat that names a process, without a sender.
func (c *chain) beat(pid int) {
	c.Helper()
	text := fmt.Sprintf(`{"v":1,"id":"svc","pid":%d,"seq":1,"status":"ok"}`+"\n", pid)
	if err := os.WriteFile(c.in("hb/svc.hb"), []byte(text), 0o644); err != nil {
		c.Fatal(err)
	}
}

// TestIncidentOfAHang: hbwatch sees the service stand, the hook saves evidence
// once, and the end of it is noted.
func TestIncidentOfAHang(t *testing.T) {
	gate.Need(t, "ptrace")
	scriptedUnderEveryShell(t, func(c *chain) {
		c.serve()
		c.watch("-events", c.in("log.jsonl"), "-on-change", c.hook("vigil-incident", "-e", c.in("log.jsonl")))
		if err := syscall.Kill(c.pid, syscall.SIGSTOP); err != nil {
			c.Fatal(err)
		}
		noted := func(what string) func() bool {
			return func() bool {
				found := c.incidents()
				return len(found) > 0 && strings.Contains(c.summary(found[0]), what)
			}
		}
		c.until("the evidence", noted("\n  complete\n"))
		// A watcher that stood itself may find it dead at once.
		c.until("its death", noted("-> dead (timeout), silent for "))
		if err := syscall.Kill(c.pid, syscall.SIGCONT); err != nil {
			c.Fatal(err)
		}
		c.until("its life", noted("dead -> alive (beat)"))
		found := c.incidents()
		if len(found) != 1 {
			c.Fatalf("incidents %q, want one", found)
		}
		summary := c.summary(found[0])
		for _, want := range []string{
			"incident  " + found[0] + "\n", fmt.Sprintf("service   svc, pid %d, sleep, state T\n", c.pid), "  alive -> ",
		} {
			if !strings.Contains(summary, want) {
				c.Errorf("summary: no %q in\n%s", want, summary)
			}
		}
		dir := "../spool/incident/" + found[0] + "/"
		for name, want := range map[string]string{
			"last.hb": `"id":"svc"`, "dump.json": `"process.state":"stopped"`, "events.jsonl": `"from":"alive"`,
		} {
			if text := c.text(dir + name); !strings.Contains(text, want) {
				c.Errorf("%s: no %s in %q", name, want, text)
			}
		}
		for _, name := range []string{"stacks.txt", "core"} {
			if c.text(dir+name) == "" && !strings.Contains(summary, "  "+name) {
				c.Errorf("%s: neither there nor accounted for", name)
			}
		}
		c.private(dir)
	})
}

// private: nobody else reads what may hold secrets.
func (c *chain) private(dir string) {
	c.Helper()
	err := filepath.WalkDir(c.in(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o077 != 0 {
			c.Errorf("%s: mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		c.Error(err)
	}
}

func TestIncidentIsOneForAllItsEvents(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		other := c.sleeper()
		c.beat(c.sleeper())
		count := 0
		step := func(want int, from, to string, flags ...string) {
			c.Helper()
			got := c.do(0, c.event(from, to), "vigil-incident", append(flags, "-c", "none", "-k", "4")...)
			if count += want; len(c.incidents()) != min(count, 4) || (want == 0) != (got.stderr == "") {
				c.Errorf("%s -> %s: %q, %d incidents", from, to, c.incidents(), count)
			}
		}
		step(0, "unknown", "alive")
		step(1, "alive", "suspect")
		step(0, "suspect", "dead")
		step(0, "dead", "alive")
		step(0, "alive", "suspect")
		if s := c.summary(c.incidents()[0]); strings.Count(s, "(timeout), silent for 1234 ms\n") != 4 || strings.Count(s, "complete") != 1 {
			c.Errorf("summary:\n%s", s)
		}
		c.beat(other)
		step(1, "suspect", "dead")
		step(0, "dead", "alive")
		later := func() {
			c.Helper()
			last := strings.Fields(c.text("../spool/incident/" + c.incidents()[count-1] + "/.last"))
			c.until("a second later", func() bool { return last[0] != strconv.Itoa(int(boottime.Now().Seconds())) })
		}
		later()
		step(1, "alive", "suspect", "-t", "1s")
		// It goes on, though hbwatch was started anew; but not if it was well again,
		// although nobody has noted that.
		later()
		step(0, "unknown", "dead", "-t", "1s")
		later()
		step(0, "alive", "suspect")
		later()
		step(1, "alive", "suspect", "-t", "1s")
		// Not to be touched: names that are not quite ours.
		spool := c.in("../spool/incident")
		near := []string{"svc-01234567-00000000000", "svc-01234567-0000000000000", "svc-0123456g-000000000000", "svc-a-01234567-000000000000", "svc"}
		for _, name := range near {
			if err := os.Mkdir(filepath.Join(spool, name), 0o700); err != nil {
				c.Fatal(err)
			}
		}
		if err := os.Symlink("svc", filepath.Join(spool, "svc-01234567-000000000000")); err != nil {
			c.Fatal(err)
		}
		before := c.incidents()
		for range 4 {
			c.do(0, nil, "vigil-incident", "-c", "none", "-k", "2", "svc")
		}
		if after := c.incidents(); len(after) != len(near)+1+2 || !slices.Contains(after, "svc-01234567-000000000000") {
			c.Errorf("before %q\nafter %q", before, after)
		}
	})
}

func TestIncidentRefuses(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		refused := func(code int, want string, env []string, args ...string) {
			c.Helper()
			got := c.do(code, env, "vigil-incident", args...)
			if !strings.Contains(got.stderr, want) || got.stdout != "" || len(c.incidents()) != 0 {
				c.Errorf("%q %q: %+v, want %q", env, args, got, want)
			}
		}
		none := []string{"HB_ID=", "HB_TO="}
		refused(100, "want an ID, or HB_ID", none)
		refused(100, "id ../x", none, "../x")
		refused(100, "id .x", []string{"HB_ID=.x", "HB_TO=dead"})
		refused(100, "-c full", none, "-c", "full", "svc")
		refused(100, "-k 0", none, "-k", "0", "svc")
		refused(100, "-f x", none, "-f", "x", "svc")
		refused(100, "-p 1x", none, "-p", "1x", "svc")
		refused(100, "unexpected argument: b", none, "a", "b")
		refused(111, "make directory", none, "-d", "/proc/none", "svc")
		open := c.in("open")
		if err := os.Mkdir(open, 0o700); err != nil {
			c.Fatal(err)
		}
		if err := os.Chmod(open, 0o777); err != nil {
			c.Fatal(err)
		}
		refused(111, "not trusted", none, "-d", open, "svc")
		// A name that nobody beats for may be a typing error; whatever is known of it is saved.
		got := c.do(1, none, "vigil-incident", "svc")
		if want := "warning: " + c.in("hb/svc.hb") + ": no such heartbeat"; !strings.Contains(got.stderr, want) {
			c.Errorf("standard error: %q, want %q", got.stderr, want)
		}
		if s := c.summary(filepath.Base(strings.TrimSpace(got.stdout))); !strings.Contains(s, "svc, no process\n") {
			c.Errorf("summary: %q", s)
		}
	})
}

// TestIncidentOfAStranger: a heartbeat leads root to no process but those of
// its owner.
func TestIncidentOfAStranger(t *testing.T) {
	gate.Need(t, "root")
	scriptedUnderEveryShell(t, func(c *chain) {
		c.beat(os.Getpid())
		if err := os.Chown(c.in("hb/svc.hb"), 4321, 4321); err != nil {
			c.Fatal(err)
		}
		c.do(0, c.event("alive", "dead"), "vigil-incident")
		dir := "../spool/incident/" + c.incidents()[0] + "/"
		if c.text(dir+"dump.json") != "" || c.text(dir+"last.hb") == "" || !strings.Contains(c.text(dir+"summary.txt"), "no process") {
			c.Errorf("summary: %s", c.text(dir+"summary.txt"))
		}
	})
}

// TestIncidentIsCutShort: told to end, it says how far it came.
func TestIncidentIsCutShort(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		c.beat(c.sleeper())
		slow := c.in("slow")
		if err := os.Mkdir(slow, 0o755); err != nil {
			c.Fatal(err)
		}
		if err := executable.Write(filepath.Join(slow, "corecap"), []byte("#!/bin/sh\n: >"+c.in("waits")+"\nsleep 1000\n"), 0o755); err != nil {
			c.Fatal(err)
		}
		cmd := c.script("vigil-incident")
		cmd.Env = append(append(cmd.Env, c.event("alive", "dead")...), "PATH="+slow+":"+filepath.Join(c.tree, "dist")+":"+os.Getenv("PATH"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			c.Fatal(err)
		}
		c.until("corecap", func() bool { _, err := os.Stat(c.in("waits")); return err == nil })
		// As hbwatch does; timeout(1) has made a group of its own for corecap.
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
			c.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			c.Error("success")
		}
		found := c.incidents()
		if s := c.summary(found[0]); !strings.HasSuffix(s, "\n  cut short: told to end\n") || !strings.Contains(s, "dump.json") {
			c.Errorf("summary: %s", s)
		}
	})
}

// TestIncidentLeavesRoom: on a disk that is nearly full it gives up what it
// has, and then saves next to nothing.
func TestIncidentLeavesRoom(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	const script = `
		mount -t tmpfs -o size=16m,mode=700 vigil "$VIGIL_SPOOL"
		incident() { $INCIDENT -c none -f "$@" svc; echo "$?"; }
		free() { df -Pk "$VIGIL_SPOOL" | awk 'NR == 2 { print ($4 >= 8100) }'; }
		incident 8
		old=$(ls "$VIGIL_SPOOL/incident")
		head -c 7000000 /dev/zero >"$VIGIL_SPOOL/incident/$old/core"
		incident 10
		ls "$VIGIL_SPOOL/incident" | wc -l
		[ -e "$VIGIL_SPOOL/incident/$old" ]; echo "$?"
		head -c 8200000 /dev/zero >"$VIGIL_SPOOL/fill"
		incident 8
		free
		ls "$VIGIL_SPOOL/incident" | wc -l # nothing was given up in vain
		cat "$VIGIL_SPOOL"/incident/*/summary.txt | tail -n 1
		cat /dev/zero >"$VIGIL_SPOOL/more" 2>/dev/null
		incident 8
		ls "$VIGIL_SPOOL/incident" | wc -l # nothing empty was left
		ls "$VIGIL_SPOOL"/incident/*`
	scriptedUnderEveryShell(t, func(c *chain) {
		c.beat(c.sleeper())
		incident := strings.Join(append(slices.Clone(c.shell), filepath.Join(c.tree, "scripts/vigil-incident")), " ")
		cmd := exec.CommandContext(c.Context(), "/bin/sh", "-c", script)
		cmd.Env = append(c.env, "INCIDENT="+incident, "HB_ID=")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		output, err := cmd.CombinedOutput()
		if err != nil {
			c.Errorf("%v", err)
		}
		lines := strings.Split(string(output), "\n")
		if len(lines) < 8 || lines[1] != "0" || lines[3] != "0" || strings.TrimSpace(lines[4]) != "1" || lines[5] != "1" ||
			!strings.Contains(string(output), "less than 8 MiB are free: only summary.txt\n111\n1\n2\n") ||
			!strings.Contains(string(output), "/summary.txt: cannot be written\n111\n2\n") || strings.HasSuffix(lines[len(lines)-2], "dump.json") {
			c.Errorf("%s", output)
		}
	})
}

// TestScriptsNeedOnlyBusybox: and the programs of vigil.
func TestScriptsNeedOnlyBusybox(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		bare := busyboxOnly(t)
		for _, tool := range tools(t) {
			if err := os.Symlink(filepath.Join(c.tree, "dist", tool), filepath.Join(bare, tool)); err != nil {
				c.Fatal(err)
			}
		}
		env := []string{"PATH=" + bare, "HB_ID="}
		c.serve()
		got := c.do(0, env, "vigil-incident", "-c", "none", "-k", "1", "svc")
		if s := c.summary(filepath.Base(strings.TrimSpace(got.stdout))); !strings.Contains(s, "dump.json") || !strings.Contains(s, "complete") {
			c.Errorf("summary: %s", s)
		}
		got = c.do(0, env, "vigil-debug", "-n", "svc", "--", "echo", "{}")
		if got.stdout != fmt.Sprintln(c.pid) {
			c.Errorf("vigil-debug: %+v", got)
		}
		c.free()
		c.do(0, env, "vigil-restart", "-s", "respawn", "svc")
		c.until("its end", func() bool { return state(c.T, c.pid) == "Z" })
	})
}
