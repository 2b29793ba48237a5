package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/host"
	"vigil/pkg/vmtest"
)

// A manager is a real systemd, the first process of namespaces of its own: it
// sees neither the machine's services nor its /run, and can change nothing but
// its directory. Whatever it has started ends with it.
type manager struct {
	t   *testing.T
	dir string // everything that units use; the same path inside
	cmd *exec.Cmd
	log logs
}

// logs is what systemd says, at level debug.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) has(pattern string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return regexp.MustCompile(pattern).Match(l.text.Bytes())
}

// boot ends as systemd; its arguments are the directory, a terminal to be the
// console, and control groups to be in: systemd makes its own below, in a cgroup
// namespace that begins there. Everything that is not its own it can only read,
// and /sys/fs/cgroup, if it is a tmpfs, is one of its own: it would set sysctls,
// make what it misses there, and make it read-only for the whole machine.
const boot = `
dir=$1 console=$2
shift 2
for group; do echo $$ >"$group/cgroup.procs" || exit; done
exec unshare --mount --pid --ipc --uts --net --cgroup --fork --mount-proc --kill-child sh -c '
	set -e
	mount --make-rprivate /
	mount --bind "$1" "$1"
	mount --bind /proc/sys /proc/sys
	mount -o remount,bind,ro /proc/sys
	mount -o remount,bind,ro /
	mount --bind "$2" /dev/console
	mount -t tmpfs run /run
	if [ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ]; then
		mount -t tmpfs cgroup /sys/fs/cgroup
		mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
		mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
		mount -t cgroup2 cgroup /sys/fs/cgroup/unified
	fi
	mkdir -p /run/systemd/system /run/lock
	export container=vigil SYSTEMD_UNIT_PATH="$1/units"
	exec /lib/systemd/systemd --system --unit=vigil.target --log-target=console --log-level=debug --show-status=0 </dev/null
' boot "$dir" "$console"
`

// startSystemd starts one for the units (name → text), and has it stopped when
// the test ends.
func startSystemd(t *testing.T, units map[string]string) *manager {
	m := &manager{t: t, dir: t.TempDir()}
	for _, dir := range []string{"units", "hold", "bin"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"wdping", "diagfifo"} {
		if err := executable.Write(filepath.Join(m.dir, "bin", name), vmtest.Program(t, runtime.GOARCH, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	units["vigil.target"] = "[Unit]\nDefaultDependencies=no\n"
	for name, text := range units {
		text = strings.ReplaceAll(text, "DIR", m.dir)
		if err := os.WriteFile(filepath.Join(m.dir, "units", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	groups := host.ControlGroups(t)
	m.cmd = exec.Command("/bin/sh", append([]string{"-c", boot, "boot", m.dir, host.Console(t, &m.log)}, groups...)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	m.cmd.WaitDelay = time.Minute
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	m.await(t, "systemd to be up", func() bool { said, _ := m.try("is-active", "vigil.target"); return said == "active" })
	return m
}

// chatter is what systemd says of our own questions, and colours.
var chatter = regexp.MustCompile(`(?m)^.*(Bus |bus object|private connection|Got message|Sent message|sd-bus|bpf).*\n|\x1b\[[0-9;]*m|\r`)

// stop kills the first process of the namespace, and with it all others.
func (m *manager) stop() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	if m.t.Failed() {
		m.t.Logf("systemd said:\n%s", chatter.ReplaceAllString(m.log.text.String(), ""))
	}
}

// await polls for five minutes: no machine is so busy.
func (m *manager) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if done() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// try runs systemctl beside that systemd, and gives what it prints; an error if that
// does not answer (yet), or has something against it.
func (m *manager) try(args ...string) (string, error) {
	// unshare's only child is the first process of the namespace.
	id := strconv.Itoa(m.cmd.Process.Pid)
	child, err := os.ReadFile("/proc/" + id + "/task/" + id + "/children")
	if err != nil || len(bytes.Fields(child)) != 1 {
		return "", errors.New("no systemd yet")
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	argv := append([]string{"-m", "-p", "-t", string(bytes.TrimSpace(child)), "systemctl", "--no-pager"}, args...)
	out, err := exec.CommandContext(ctx, "nsenter", argv...).Output()
	return strings.TrimSpace(string(out)), err
}

// do is try until systemd has answered: systemctl has a patience of its own, of 25
// seconds.
func (m *manager) do(t *testing.T, args ...string) (said string) {
	t.Helper()
	m.await(t, "systemctl "+strings.Join(args, " "), func() (done bool) {
		var err error
		said, err = m.try(args...)
		return err == nil
	})
	return said
}

// alive shows life in the file of a unit until it is stopped.
func (m *manager) alive(t *testing.T, unit string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	touch := func() {
		if err := os.WriteFile(filepath.Join(m.dir, unit+".life"), []byte(time.Now().String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	touch()
	go func() {
		defer close(done)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				touch()
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
