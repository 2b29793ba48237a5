package drill

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// A finding is a line of vigil-doctor -t.
type finding struct{ tool, what, state, why, remedy string }

func (h *host) findings(text string) (found []finding) {
	h.Helper()
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 {
			h.Fatalf("line %q: %d values", line, len(f))
		}
		found = append(found, finding{f[0], f[1], f[2], f[3], f[4]})
	}
	return found
}

// TestDoctorTries has everything tried for real, as whoever runs the test.
func TestDoctorTries(t *testing.T) {
	gate.Need(t, "ptrace")
	underEveryShell(t, func(h *host) {
		before := h.files()
		got := h.do(nil, h.argv("vigil-doctor", "-t")...)
		want := map[string]string{
			"host run directory": "ok", "host spool": "", "host versions": "ok",
			"hbsend a beat": "ok", "hbsend for a process": "ok",
			"hbwatch a verdict": "ok", "hbwatch a hook": "ok", "hbwatch a hold": "ok",
			"wdping conditions":     "ok",
			"diagfifo control FIFO": "ok", "diagfifo a dump": "ok", "diagfifo stacks": "ok",
			"corecap a live process": "ok", "corecap crashes": "",
			"scripts programs": "ok", "scripts hb.sh": "ok", "scripts diag.sh": "ok", "scripts vigil-incident": "ok",
		}
		refused := false
		for _, f := range h.findings(got.stdout) {
			refused = refused || f.state == "no"
			if state, known := want[f.tool+" "+f.what]; known {
				delete(want, f.tool+" "+f.what)
				if state != "" && f.state != state {
					h.Errorf("%+v, want %s", f, state)
				}
			}
			if f.state == "limited" && f.remedy == "" {
				h.Errorf("%+v: no remedy", f)
			}
		}
		if len(want) > 0 {
			h.Errorf("not told: %v in\n%s", want, got.stdout)
		}
		if code := map[bool]int{false: 0, true: 1}[refused]; got.code != code || got.stderr != "" {
			h.Errorf("exit status %d, want %d; stderr %q", got.code, code, got.stderr)
		}
		if after := h.files(); after != before {
			h.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
		}
		h.until("nothing runs on", func() bool { return len(h.strays()) == 0 })
		h.table()
	})
}

// table is for people; -q leaves out what is well, and only what was asked for
// counts.
func (h *host) table() {
	h.Helper()
	got := h.do(nil, h.argv("vigil-doctor", "hbsend")...)
	want := "TOOL      WHAT             STATE    WHY\nhbsend    a beat           ok       is written\nhbsend    for a process    ok       a process is followed\n"
	if got != (result{0, want, ""}) {
		h.Errorf("%+v, want\n%s", got, want)
	}
	if got := h.do(nil, h.argv("vigil-doctor", "-q", "hbsend", "diagfifo")...); got != (result{}) {
		h.Errorf("-q: %+v", got)
	}
	// Who collects the crashes of the machine is not sent one.
	h.furnish(h.in("collected"), with(plain, file(pattern, "|/opt/collector %p\n")))
	h.has(h.do([]string{"VIGIL_ROOT=" + h.in("collected")}, h.argv("vigil-doctor", "-t", "corecap")...), []finding{
		{"corecap", "run", "-", "not tried: a crash would go to |/opt/collector", ""},
		{"corecap", "crashes", "limited", "go to /opt/collector", ""}})
	if got := h.do(nil, h.argv("vigil-doctor", "hbsnd")...); got.code != 100 || got.stdout != "" || !strings.Contains(got.stderr, "unknown tool: hbsnd") {
		h.Errorf("unknown tool: %+v", got)
	}
	if err := os.Remove(h.in("run/ctl")); err != nil {
		h.Fatal(err)
	}
	if err := os.Chmod(h.in("run"), 0o777); err != nil {
		h.Fatal(err)
	}
	got = h.do(nil, h.argv("vigil-doctor", "-q", "host")...)
	for _, want := range []string{"others may write there", "-> chmod go-w " + h.in("run") + "\n", "-> umask 022; mkdir " + h.in("run/ctl") + "\n"} {
		if got.code != 1 || !strings.Contains(got.stdout, want) {
			h.Errorf("no %q in %+v", want, got)
		}
	}
}

func TestDoctorEndsBySignals(t *testing.T) {
	underEveryShell(t, func(h *host) {
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
			before := h.files()
			argv := h.argv("vigil-doctor")
			cmd := h.background("out", argv...)
			// With the outer directories there, it is about to start its servers.
			h.until("it tries", func() bool { return strings.Contains(h.text("out"), "a verdict") })
			if err := cmd.Process.Signal(sig); err != nil {
				h.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 128+int(sig) {
				h.Errorf("%v: exit status %d\n%s", sig, code, h.text("out.err"))
			}
			for _, name := range []string{"out", "out.err"} {
				if err := os.Remove(h.in(name)); err != nil {
					h.Fatal(err)
				}
			}
			if after := h.files(); after != before {
				h.Errorf("%v: left behind:\n%s", sig, after)
			}
			h.until("nothing runs on", func() bool { return len(h.strays()) == 0 })
		}
	})
}

// TestDoctorInsists: a signal that comes before a server has become what it is to be
// is lost there. It ends all the same.
func TestDoctorInsists(t *testing.T) {
	underEveryShell(t, func(h *host) {
		dist := filepath.Join(h.tree, "dist")
		h.write("deaf/wdping", "#!/bin/sh\ncase $* in\n*-device*)\n\theard=\n\ttrap 'heard=yes' TERM\n\t: >"+h.in("begun")+
			"\n\tuntil [ -n \"$heard\" ]; do sleep 0.05; done\n\ttrap - TERM\n\t;;\nesac\nexec "+dist+"/wdping \"$@\"\n", 0o755)
		h.env = append(h.env, "PATH="+h.in("deaf")+":"+dist+":"+os.Getenv("PATH"))
		cmd := h.background("out", h.argv("vigil-doctor", "wdping")...)
		h.until("a server", func() bool { return exists(h.in("begun")) })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			h.Fatal(err)
		}
		h.until("its end", func() bool { return state(cmd.Process.Pid) == "Z" })
		_ = cmd.Wait()
		h.until("nothing runs on", func() bool { return len(h.strays()) == 0 })
	})
}

// TestDoctorInNamespaces: what a container, a locked-down user and a broken file
// system do to it, for real.
func TestDoctorInNamespaces(t *testing.T) {
	gate.Need(t, "root", "tmpfs", "setpriv", "ptrace")
	t.Parallel()
	deny := vmtest.Helper(t, runtime.GOARCH, "../../../cmd/corecap/testdata/deny")
	for _, test := range []struct {
		name, setup string
		tools       string
		want        []finding // what they have, as parts
	}{
		{"noexec", `mount -t tmpfs -o noexec,mode=755 t "$VIGIL_DIR"`, "hbwatch", []finding{
			{"hbwatch", "a hook", "limited", "does not run from the run directory", "remount,exec "},
			{"hbwatch", "a verdict", "ok", "", ""}}},
		{"read-only", `mount -t tmpfs -o ro,mode=755 t "$VIGIL_DIR"`, "host hbsend", []finding{
			{"host", "run directory", "no", "tmpfs, mounted read-only", "VIGIL_DIR=DIR"},
			{"hbsend", "a beat", "ok", "", ""}}},
		{"full", `mount -t tmpfs -o size=64k,mode=755 t "$VIGIL_DIR"; head -c 99999 /dev/zero >"$VIGIL_DIR/x" || :`, "host", []finding{
			{"host", "run directory", "no", "tmpfs is full", "df "}}},
		{"spool on tmpfs", `mount -t tmpfs -o mode=755 t "$VIGIL_SPOOL"`, "host", []finding{
			{"host", "spool", "limited", "does not outlive", "on a disk"}}},
		{"no /proc", `umount -l /proc; umount -l /proc`, "host hbsend", []finding{
			{"host", "/proc", "no", "not mounted", "mount -t proc"}}},
		{"the /proc of others", `umount -l /proc`, "host", []finding{
			{"host", "/proc", "no", "of another pid namespace", "unshare --mount-proc"}}},
		{"no /dev/null", `mount -t tmpfs t /dev; "$@"; code=$?; [ ! -e /dev/null ] || echo it was made; exit $code`, "host", []finding{
			{"host", "/dev/null", "no", "is no device", "mknod -m 666 /dev/null c 1 3"}}},
		{"a pid namespace", ``, "host", []finding{
			{"host", "processes", "limited", "pid namespace of its own", "--pid=host"},
			{"host", "other users", "ok", "", ""}}},
		{"hidepid", `mount -t proc -o hidepid=2 proc /proc; chown -R 65534 "$VIGIL_DIR" "$VIGIL_SPOOL" "$TMPDIR"; setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; exit`, "host", []finding{
			{"host", "processes", "limited", "hidden (hidepid)", "hidepid=0"},
			{"host", "other users", "limited", "uid 65534", "root"},
			{"host", "run directory", "ok", "uid 65534", ""}}},
		{"no capability", `set -- setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$@"`, "host", []finding{
			{"host", "other users", "limited", "without CAP_SYS_PTRACE", "SYS_PTRACE"}}},
		{"seccomp", `set -- "$TMPDIR/deny" "$@"`, "diagfifo corecap host scripts", []finding{
			{"host", "seccomp", "ok", "a filter is in force", ""},
			{"diagfifo", "a dump", "ok", "", ""},
			{"diagfifo", "stacks", "no", "forbids ptrace", "--cap-add SYS_PTRACE --security-opt seccomp=unconfined"},
			{"corecap", "a live process", "no", "forbids ptrace", "seccomp=unconfined"},
			{"corecap", "run", "no", "is not saved: ", "seccomp=unconfined"},
			{"scripts", "vigil-incident", "limited", "stacks.txt none: corecap", ""}}},
		{"not ours", `chown 65533 "$VIGIL_DIR"`, "host", []finding{
			{"host", "run directory", "no", "not ours", "chown 0 "}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, []string{"/bin/sh"})
			h.open()
			h.write("tmp/deny", string(deny), 0o755)
			argv := append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c",
				test.setup + "\nexec \"$@\"", "sh"}, h.argv("vigil-doctor", append([]string{"-t"}, strings.Fields(test.tools)...)...)...)
			got := h.do(nil, argv...)
			h.has(got, test.want)
		})
	}
}

// open makes the host one that other users reach, with a copy of the programs.
func (h *host) open() {
	h.Helper()
	if err := os.CopyFS(h.in("tree/dist"), os.DirFS(filepath.Join(h.tree, "dist"))); err != nil {
		h.Fatal(err)
	}
	if err := os.CopyFS(h.in("tree/scripts"), os.DirFS(filepath.Join(h.tree, "scripts"))); err != nil {
		h.Fatal(err)
	}
	h.tree = h.in("tree")
	h.env = append(h.env, "PATH="+h.in("tree/dist")+":"+os.Getenv("PATH"))
	for dir := h.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			h.Fatal(err)
		}
	}
}

// has compares findings, which may say more than is wanted; one that has to be
// there may have only one tool and name.
func (h *host) has(got result, want []finding) {
	h.Helper()
	found := h.findings(got.stdout)
	for _, w := range want {
		ok := false
		for _, f := range found {
			ok = ok || f.tool == w.tool && f.what == w.what && f.state == w.state && strings.Contains(f.why, w.why) && strings.Contains(f.remedy, w.remedy)
		}
		if !ok {
			h.Errorf("no %+v in exit status %d\n%s%s", w, got.code, got.stdout, got.stderr)
		}
	}
}

// lookPath names a program of the system.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
