package main

import (
	"bytes"
	"context"
	"io"
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

	"golang.org/x/sys/unix"

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
		if err := os.WriteFile(filepath.Join(m.dir, "bin", name), vmtest.Program(t, runtime.GOARCH, name), 0o755); err != nil {
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
	groups := controlGroups(t)
	m.cmd = exec.Command("/bin/sh", append([]string{"-c", boot, "boot", m.dir, m.console(t)}, groups...)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	m.cmd.WaitDelay = time.Minute
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	m.await(t, "systemd to be up", func() bool { return m.try("is-active", "vigil.target") == "active" })
	return m
}

// console gives the name of a terminal; what is written to it is logged. The
// first process of a system logs to no file and no pipe.
func (m *manager) console(t *testing.T) string {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	// Open here as well, or the reader would see an end whenever nobody else has it.
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&m.log, master)
		read <- err
	}()
	t.Cleanup(func() {
		_ = slave.Close()
		<-read // EIO: nobody has it open any more
		_ = master.Close()
	})
	return name
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

// controlGroups makes one in each hierarchy that systemd could use, and has
// them removed at the end of the test, with those that systemd has made in them.
func controlGroups(t *testing.T) (groups []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		field, options, _ := strings.Cut(line, " - ")
		where := strings.Fields(field)[4]
		// A process without processors cannot be in a cpuset, and systemd wants none.
		if !strings.HasPrefix(options, "cgroup") || strings.Contains(options, "cpuset") {
			continue
		}
		group := filepath.Join(where, "vigil-test-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeGroup(t, group) })
		groups = append(groups, group)
	}
	if len(groups) == 0 {
		t.Fatal("no control groups are mounted")
	}
	return groups
}

// removeGroup removes a control group and all below it. The last process may
// take a moment to leave it.
func removeGroup(t *testing.T, top string) {
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var all []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- {
			err = os.Remove(all[i])
		}
		if err == nil || os.IsNotExist(err) {
			return
		}
	}
	t.Error(err)
}

// await polls for a minute and a half: no machine is so busy.
func (m *manager) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if done() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// try runs systemctl beside that systemd, and gives what it prints; "" if that
// does not answer (yet).
func (m *manager) try(args ...string) string {
	// unshare's only child is the first process of the namespace.
	id := strconv.Itoa(m.cmd.Process.Pid)
	child, err := os.ReadFile("/proc/" + id + "/task/" + id + "/children")
	if err != nil || len(bytes.Fields(child)) != 1 {
		return ""
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	argv := append([]string{"-m", "-p", "-t", string(bytes.TrimSpace(child)), "systemctl", "--no-pager"}, args...)
	out, _ := exec.CommandContext(ctx, "nsenter", argv...).Output()
	return strings.TrimSpace(string(out))
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
