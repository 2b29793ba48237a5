package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// TestOpenRC boots as Alpine does: busybox is the first process, and has OpenRC
// start what is in the runlevels.
func TestOpenRC(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "openrc", "inits")
	files := installed(t)
	bring(t, unpacked(t, "busybox-static", "bin/busybox"), files, "usr/local/sbin/init")
	put(t, files, "etc/inittab", "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n::shutdown:/sbin/openrc shutdown\n", 0o644)
	put(t, files, "etc/rc.conf", "rc_logger=NO\n", 0o644)
	put(t, files, "etc/fstab", "", 0o644)
	put(t, files, "etc/insserv.conf", "", 0o644) // Debian's OpenRC reads both
	put(t, files, "etc/insserv.conf.d/.keep", "", 0o644)
	for _, name := range []string{"sysinit", "boot", "default", "shutdown", "nonetwork"} {
		if err := os.MkdirAll(filepath.Join(files, "etc/runlevels", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, files, "etc/pam.d/other", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n", 0o644)
	put(t, files, "etc/init.d/.keep", "", 0o644)
	c := start(t, host.Config{Files: files, Init: []string{"/usr/local/sbin/init"}})
	c.await("OpenRC to be up", func() bool { return strings.TrimSpace(c.h.Text("/run/openrc/softlevel")) == "default" })
	c.follow("OpenRC")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.acknowledged("hbsend,hbwatch")
	c.replaced(c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.killed()
	c.suspected()
	c.up(c.hbsend(), c.diagfifo())
	c.h.Run("rc-service", "web", "stop")
	c.await("hbwatch to see it", func() bool { return strings.Contains(c.h.Text(c.run+"/events"), `"to":"stopped"`) })
	c.h.Run("openrc", "shutdown")
	c.gone("init")
	c.restarts()
}
