package service

import (
	"os"
	"strings"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

func TestRunit(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "runit")
	files := installed(t)
	put(t, files, "etc/service/.keep", "", 0o644)
	put(t, files, "etc/sv/.keep", "", 0o644)
	c := start(t, host.Config{Files: files, Init: []string{"/usr/bin/runsvdir", "-P", "/etc/service"}})
	c.follow("runit")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.acknowledged("hbsend,hbwatch")
	c.replaced(c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.killed()
	c.suspected()
	// Who tells runit to leave it down is obeyed by hbwatch's hook, too.
	c.leftDown([]string{"sv", "down", "web"}, []string{"sv", "up", "web"})
	// They end and stay down, which sv(8) calls a failure of those it had to kill;
	// what is gone from the directory, runsvdir lets go.
	c.h.Run("/bin/sh", "-c", "sv -w 60 force-stop /etc/service/*")
	c.gone("runsvdir", "runsv")
	c.h.Run("/bin/sh", "-c", "rm /etc/service/*")
	c.gone("runsvdir")
}

// leftDown has a supervisor end the service, by a command, and leave it down; and
// another one start it again.
func (c *chain) leftDown(down, up []string) {
	c.Helper()
	const refused = "has been told to leave it down: left alone"
	if got := c.h.Run(down...); got.Code != 0 {
		c.Fatalf("%q: exit status %d, %s%s", down, got.Code, got.Stdout, got.Stderr)
	}
	c.await("no service", func() bool { return c.find(c.service()).PID == 0 })
	c.await("the hook to leave it alone", func() bool { return strings.Contains(c.h.Console(), refused) })
	if p := c.find(c.service()); p.PID != 0 {
		c.Errorf("pid %d was started all the same", p.Inner)
	}
	c.restarts()
	if got := c.h.Run(up...); got.Code != 0 {
		c.Fatalf("%q: exit status %d, %s%s", up, got.Code, got.Stdout, got.Stderr)
	}
	c.await("beats again", c.alive)
}

func TestS6(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "s6")
	files := installed(t)
	c := start(t, host.Config{Files: files, Init: []string{"/bin/sh", "-c", "mkdir /run/service; exec s6-svscan /run/service"}})
	c.await("s6-svscan to listen", func() bool {
		_, err := os.Stat(c.h.Path("/run/service/.s6-svscan/control"))
		return err == nil
	})
	c.follow("s6")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping)
	for _, name := range []string{"web-hbsend", "web-diagfifo", "hbwatch", "wdping"} {
		// They say themselves when they serve.
		c.await(name+" to be ready", func() bool { return c.h.Run("s6-svstat", "-o", "ready", "/run/service/"+name).Stdout == "true\n" })
	}
	c.acknowledged("hbsend,hbwatch")
	c.replaced(c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.killed()
	c.suspected()
	c.leftDown([]string{"s6-svc", "-d", "/run/service/web"}, []string{"s6-svc", "-u", "/run/service/web"})
	c.h.Run("s6-svscanctl", "-t", "/run/service")
	c.await("the end of s6-svscan", c.h.Exited)
}
