package service

import (
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// TestSysvinit has the scripts run by sysvinit's init, under Debian's shell and
// tools; and as S50web and S40vigil, as Buildroot has them, under a busybox that
// is all there is.
func TestSysvinit(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "inits")
	t.Run("sysvinit", func(t *testing.T) {
		t.Parallel()
		files := installed(t)
		bring(t, unpacked(t, "sysvinit-core", "sbin/init"), files, "usr/local/sbin/init")
		put(t, files, "etc/inittab", "id:2:initdefault:\nx:0123456:once:/bin/true\n", 0o644)
		put(t, files, "etc/init.d/.keep", "", 0o644)
		scriptsOfSysvinit(t, host.Config{Files: files, Init: []string{"/usr/local/sbin/init"}})
	})
	t.Run("busybox", func(t *testing.T) {
		t.Parallel()
		files := installed(t)
		busyboxOnly(t, files)
		put(t, files, "etc/inittab", "::sysinit:/bin/true\n", 0o644)
		put(t, files, "etc/init.d/.keep", "", 0o644)
		scriptsOfSysvinit(t, host.Config{Files: files, Alone: true, Init: []string{"/bin/init"}})
	})
}

func scriptsOfSysvinit(t *testing.T, config host.Config) {
	c := start(t, config)
	c.follow("sysvinit")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.script(0, "web", "start") // runs already
	c.script(0, "web", "status")
	c.script(0, "vigil", "status")
	c.script(2, "web", "begin")
	c.acknowledged("hbsend,hbwatch")
	c.replaced(c.hbsend(), c.diagfifo(), hbwatch, wdping)
	// Nobody but hbwatch sees that it has ended.
	c.hangs++
	c.killed()
	c.suspected()
	old := c.find(c.service())
	c.script(0, "web", "restart")
	c.await("another process", func() bool { now := c.find(c.service()); return now.PID != 0 && now.PID != old.PID })
	c.up(c.service(), c.hbsend(), c.diagfifo())
	c.script(0, "web", "stop")
	c.script(3, "web", "status")
	c.await("hbwatch to see it", func() bool { return strings.Contains(c.h.Text(c.run+"/events"), `"to":"stopped"`) })
	c.script(0, "vigil", "stop")
	c.script(3, "vigil", "status")
	c.gone(filepath.Base(config.Init[0]))
	c.restarts()
}

// script runs a script of init.d, which has to end with code.
func (c *chain) script(code int, name, verb string) {
	c.Helper()
	if got := c.h.Run("/etc/init.d/"+name, verb); got.Code != code {
		c.Errorf("%s %s: exit status %d, want %d\n%s%s", name, verb, got.Code, code, got.Stdout, got.Stderr)
	}
}
