package service

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// entrypoint is the first process of a container.
const entrypoint = "/usr/local/share/vigil/service/container/entrypoint"

// contained starts a container as the runtime would: the entrypoint is its first
// process, the user is not root, and nothing but /run can be written to.
func contained(t *testing.T, files, shell string, command ...string) *chain {
	t.Helper()
	config := host.Config{Files: files, ReadOnly: true, Env: []string{"VIGIL_ID=web", "VIGIL_DIR=/run/vigil"}}
	if shell == "busybox" {
		busyboxOnly(t, files)
		config.Alone = true
		config.Init = []string{"/bin/sh", "-c", `chmod 1777 /run; exec su -s /bin/sh -c 'exec "$0" "$@"' -- web "$@"`, "sh", entrypoint}
	} else {
		config.Init = []string{"/bin/sh", "-c", `chmod 1777 /run; exec setpriv --reuid web --regid web --clear-groups --inh-caps -all "$@"`, "sh", shell, entrypoint}
	}
	config.Init = append(config.Init, command...)
	c := start(t, config)
	c.user = uid
	return c
}

func TestContainer(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "shells", "inits")
	for _, shell := range []string{"dash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			c := contained(t, installed(t), shell, "/usr/local/bin/web")
			c.up(c.service(), c.hbsend(), c.diagfifo())
			c.acknowledged("hbsend")
			c.replaced(c.hbsend(), c.diagfifo())
			for _, p := range c.h.Processes() {
				if p.UID != uid {
					t.Errorf("%q runs as user %d", p.Args, p.UID)
				}
			}
			// Who loses his parent is the first process's, which lets nobody lie about dead.
			c.h.RunAs(uid, "/bin/sh", "-c", "sleep 0.1 & exec true")
			c.await("no dead process", func() bool {
				for _, p := range c.h.Processes() {
					if p.State == 'Z' {
						return false
					}
				}
				return true
			})
			// Who beats and who explains end with the service, and nobody starts them again,
			// however long the first process takes to see it.
			first := c.first()
			c.h.Signal(first, syscall.SIGSTOP)
			c.h.Signal(c.find(c.service()), syscall.SIGKILL)
			c.await("the first process to be alone", func() bool { return len(c.running()) == 1 })
			c.h.Signal(first, syscall.SIGCONT)
			c.ends(128 + 9)
		})
	}
}

// TestContainerEnds: as its service does, however that comes.
func TestContainerEnds(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "shells", "inits")
	for _, test := range []struct {
		name, shell, script string
		signal              syscall.Signal
		code                int
	}{
		{"told", "dash", `trap 'exit 7' TERM; : >/run/vigil/ready; while :; do sleep 1 & wait $!; done`, syscall.SIGTERM, 7},
		{"told, busybox", "busybox", `trap 'exit 7' TERM; : >/run/vigil/ready; while :; do sleep 1 & wait $!; done`, syscall.SIGTERM, 7},
		{"told by a terminal", "dash", `trap 'exit 8' TERM; : >/run/vigil/ready; while :; do sleep 1 & wait $!; done`, syscall.SIGINT, 8},
		{"slowly", "dash", `trap 'sleep 2; exit 9' TERM; : >/run/vigil/ready; while :; do sleep 1 & wait $!; done`, syscall.SIGTERM, 9},
		{"by itself", "dash", `: >/run/vigil/ready; while [ ! -e /run/vigil/end ]; do sleep 1; done; exit 3`, 0, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := contained(t, installed(t), test.shell, "/bin/sh", "-c", test.script)
			c.await("beats", c.alive)
			c.await("the service to be ready", func() bool {
				_, err := os.Stat(c.h.Path("/run/vigil/ready"))
				return err == nil
			})
			if test.signal == 0 {
				put(t, c.h.Path("/run/vigil"), "end", "", 0o644)
			} else {
				c.h.Signal(c.first(), test.signal)
			}
			c.ends(test.code)
		})
	}
}

func (c *chain) first() host.Process {
	c.Helper()
	for _, p := range c.h.Processes() {
		if p.Inner == 1 {
			return p
		}
	}
	c.Fatal("no first process")
	return host.Process{}
}

func (c *chain) ends(code int) {
	c.Helper()
	c.await("the end of the container", c.h.Exited)
	if got := c.h.Code(); got != code {
		c.Errorf("exit status %d, want %d", got, code)
	}
	if said := c.h.Console(); strings.Contains(said, "error") {
		c.Errorf("said %q", said)
	}
}
