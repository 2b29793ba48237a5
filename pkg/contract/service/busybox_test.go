package service

import (
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// TestBusybox has nothing but a busybox and the programs.
func TestBusybox(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "inits")
	files := installed(t)
	busyboxOnly(t, files)
	put(t, files, "etc/inittab", "::sysinit:/bin/true\n", 0o644)
	c := start(t, host.Config{Files: files, Alone: true, Init: []string{"/bin/init"}})
	c.follow("busybox init")
	c.up(c.service(), c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.acknowledged("hbsend,hbwatch")
	c.replaced(c.hbsend(), c.diagfifo(), hbwatch, wdping)
	c.killed()
	c.suspected()
	// It ends all, and itself.
	c.h.Run("kill", "-TERM", "1")
	c.await("the end of init", c.h.Exited)
}
