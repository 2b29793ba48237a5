package service

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// sidecar is a wdping that speaks for another process to systemd.
var (
	serviceSidecar = piece{"wdping", "/web.hb=20s"}
	watcherSidecar = piece{"wdping", "hbwatch:/run/vigil/feed"}
)

func TestSystemd(t *testing.T) {
	t.Parallel()
	gate.Need(t, "systemd")
	files := installed(t)
	put(t, files, "etc/machine-id", strings.Repeat("0123456789abcdef", 2)+"\n", 0o444)
	put(t, files, "etc/tmpfiles.d/.keep", "", 0o644)
	put(t, files, "etc/systemd/system/vigil-test.target", "[Unit]\nDefaultDependencies=no\n", 0o644)
	c := start(t, host.Config{Files: files, Groups: true, Env: []string{"container=vigil"}, Init: []string{
		"/lib/systemd/systemd", "--system", "--unit=vigil-test.target", "--log-target=console", "--show-status=0"}})
	c.await("systemd to be up", func() bool { return c.systemctl("is-active", "vigil-test.target") == "active" })
	c.follow("systemd")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping, serviceSidecar, watcherSidecar)
	c.acknowledged("hbsend,hbwatch,wdping")
	c.replaced(c.hbsend(), c.diagfifo(), wdping)
	c.killed()
	c.suspected()
	c.systemdWatches()
	// It is stopped on purpose, and hbwatch knows.
	before := len(c.alarms())
	c.systemctl("stop", "web.service")
	c.await("hbwatch to see it", func() bool { return strings.Contains(c.h.Text(c.run+"/events"), `"to":"stopped"`) })
	if c.find(c.service()).PID != 0 || len(c.alarms()) > before {
		c.Errorf("alarms for what was stopped: %q", c.alarms()[before:])
	}
	c.systemctl("stop", "hbwatch.service", "wdping.service")
	c.await("the end of all processes", func() bool {
		for _, p := range c.h.Processes() {
			if strings.Contains(strings.Join(p.Args, " "), "/usr/local/") {
				return false
			}
		}
		return true
	})
}

func (c *chain) systemctl(args ...string) string {
	return strings.TrimSpace(c.h.Run(append([]string{"systemctl", "--no-pager"}, args...)...).Stdout)
}

func (c *chain) unit(unit, property string) string {
	return c.systemctl("show", "--value", "-p", property, unit+".service")
}

// systemdWatches: what hbwatch cannot see, because it is gone itself or because
// nobody speaks for the service, systemd does.
func (c *chain) systemdWatches() {
	c.Helper()
	for _, test := range []struct {
		unit     string
		main     piece
		fault    piece
		sig      syscall.Signal
		watchdog bool
	}{
		{"hbwatch", hbwatch, hbwatch, syscall.SIGKILL, false},
		{"hbwatch", hbwatch, hbwatch, syscall.SIGSTOP, true},
		{"web", c.service(), serviceSidecar, syscall.SIGKILL, true},
		{"hbwatch", hbwatch, watcherSidecar, syscall.SIGKILL, true},
	} {
		said := strings.Count(c.h.Console(), test.unit+".service: Failed with result 'watchdog'")
		times, _ := strconv.Atoi(c.unit(test.unit, "NRestarts"))
		old := c.find(test.main)
		c.h.Signal(c.find(test.fault), test.sig)
		c.await(test.unit+" to be restarted", func() bool {
			n, _ := strconv.Atoi(c.unit(test.unit, "NRestarts"))
			now := c.find(test.main)
			return n > times && now.PID != 0 && now.PID != old.PID
		})
		watchdog := func() bool {
			return strings.Count(c.h.Console(), test.unit+".service: Failed with result 'watchdog'") > said
		}
		if test.watchdog {
			c.await("systemd to say that its watchdog did it", watchdog)
		}
		c.up(hbwatch, c.service())
		if watchdog() != test.watchdog {
			c.Errorf("%s: %v of %s: by the watchdog: %v", test.unit, test.sig, test.fault.comm, watchdog())
		}
	}
	c.acknowledged("hbwatch,wdping")
	// And one that hangs while there is no hbwatch.
	c.systemctl("stop", "hbwatch.service")
	said := strings.Count(c.h.Console(), "web.service: Failed with result 'watchdog'")
	old := c.find(c.service())
	c.h.Signal(old, syscall.SIGSTOP)
	c.await("web to be restarted", func() bool { now := c.find(c.service()); return now.PID != 0 && now.PID != old.PID })
	c.await("systemd to say that its watchdog did it", func() bool {
		return strings.Count(c.h.Console(), "web.service: Failed with result 'watchdog'") == said+1
	})
	c.systemctl("start", "hbwatch.service")
	c.up(hbwatch, c.service())
	c.restarts()
}
