package drill

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"

	"golang.org/x/sys/unix"
)

// A line is one of the table that vigil-drill prints.
type line struct{ seconds, result, seen string }

var tableLine = regexp.MustCompile(`^(\S+) {2,}(\S.*?) {2,}(-|\d+\.\d) {2}(ok|NO|-) +(\S.*)$`)

// lines reads the table, by the faults.
func (h *host) lines(text string) map[string]line {
	h.Helper()
	head, rest, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(head, "FAULT ") {
		h.Fatalf("no table:\n%s", text)
	}
	found := map[string]line{}
	for l := range strings.Lines(rest) {
		m := tableLine.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			h.Fatalf("line %q", l)
		}
		found[m[1]] = line{m[3], m[4], m[5]}
	}
	return found
}

// state is the letter that ps shows of a process; nothing, if there is none.
func state(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // it may be gone
	_, rest, _ := strings.Cut(string(stat), ") ")
	letter, _, _ := strings.Cut(rest, " ")
	return letter
}

func (h *host) pid(name string) int {
	pid, err := strconv.Atoi(strings.TrimSpace(h.text(name)))
	if err != nil {
		return 0
	}
	return pid
}

// supervise has runit run a service until the end of the test.
func (h *host) supervise(name, script string) {
	h.Helper()
	h.write("sv/"+name+"/run", "#!/bin/sh\n"+script, 0o755)
	runsv := h.background("sv-"+name, lookPath(h.T, "runsv"), h.in("sv/"+name))
	h.Cleanup(func() { // before it is killed: a runsv that is told to end takes its service along
		if err := runsv.Process.Signal(syscall.SIGTERM); err == nil {
			_ = runsv.Wait()
		}
	})
}

// watch starts hbwatch and waits until it sees svc alive.
func (h *host) watch(flags ...string) {
	h.Helper()
	h.background("run/events", append(append([]string{"hbwatch", "-hold", h.in("run/hold")}, flags...), h.in("run/hb"))...)
	h.until("alive", func() bool { return strings.Contains(h.text("run/events"), `"to":"alive"`) })
}

// serve starts a service that nobody starts again, and the sender that beats for it.
func (h *host) serve(flags ...string) *exec.Cmd {
	h.Helper()
	service := h.background("service", "/bin/sleep", "100000")
	h.write("svc.pid", fmt.Sprintln(service.Process.Pid), 0o644)
	h.background("hbsend", append(append([]string{"hbsend", "-interval", "500ms", "-hold", h.in("run/hold")}, flags...), h.in("run/hb/svc.hb"))...)
	h.until("the first beat", func() bool { return h.text("run/hb/svc.hb") != "" })
	return service
}

// TestDrillNotices: a service and its sender under runit, an hbwatch whose hook has
// the service restarted.
func TestDrillNotices(t *testing.T) {
	gate.Need(t, "runit")
	underEveryShell(t, func(h *host) {
		h.supervise("svc", fmt.Sprintf("echo $$ >%s\nexec sleep 100000\n", h.in("svc.pid")))
		h.supervise("hbsend", fmt.Sprintf("exec hbsend -interval 500ms -pidfile %s -hold %s %s\n", h.in("svc.pid"), h.in("run/hold"), h.in("run/hb/svc.hb")))
		h.write("hook", fmt.Sprintf("#!/bin/sh\n[ \"$HB_TO\" != dead ] || sv -w 7 force-restart %s\n", h.in("sv/svc")), 0o755)
		h.until("the first beat", func() bool { return h.text("run/hb/svc.hb") != "" })
		h.watch("-timeout", "2s", "-on-change", h.in("hook"))
		first := h.pid("svc.pid")
		got := h.do(nil, h.argv("vigil-drill", "-t", "1m", "svc", "stop", "stop-hbsend", "kill-hbsend", "kill")...)
		lines := h.lines(got.stdout)
		for fault, want := range map[string]string{
			"stop":        fmt.Sprintf(`dead \d+\.\d, .*alive \d+\.\d, pid %d -> \d+$`, first),
			"stop-hbsend": `dead \d+\.\d, .*alive \d+\.\d`,
			"kill-hbsend": `hbsend \d+ -> \d+ \d+\.\d$`,
			"kill":        `back \d+\.\d, pid \d+ -> \d+$`,
		} {
			if l := lines[fault]; l.result != "ok" || !regexp.MustCompile(want).MatchString(l.seen) {
				h.Errorf("%s: %+v, want ok and %s", fault, l, want)
			}
		}
		if lines["stop"].seconds == "-" || lines["stop-hbsend"].seconds == "-" {
			h.Errorf("seconds: %+v", lines)
		}
		want := fmt.Sprintf(`^vigil-drill: svc: pid %d, watched by hbwatch \(pid \d+\): %s\n$`, first, regexp.QuoteMeta(h.in("run/events")))
		if got.code != 0 || !regexp.MustCompile(want).MatchString(got.stderr) {
			h.Errorf("exit status %d, stderr %q, want %s", got.code, got.stderr, want)
		}
		h.clean()
	})
}

// clean: nothing of the drill is left.
func (h *host) clean() {
	h.Helper()
	h.until("nothing is left", func() bool {
		for _, pattern := range []string{"tmp/*", "run/.vigil-drill*"} {
			if left, err := filepath.Glob(h.in(pattern)); err != nil || len(left) > 0 {
				return false
			}
		}
		for _, stray := range h.strays() {
			if strings.Contains(stray, "vigil-drill") {
				return false
			}
		}
		return true
	})
}

// TestDrillTellsWhatFails: what nobody notices, and what nobody starts again.
func TestDrillTellsWhatFails(t *testing.T) {
	underEveryShell(t, func(h *host) {
		service := h.serve("-pidfile", h.in("svc.pid"))
		drill := func(code int, want line, args ...string) string {
			h.Helper()
			got := h.do(nil, h.argv("vigil-drill", args...)...)
			l := h.lines(got.stdout)[args[len(args)-1]]
			if got.code != code || l.result != want.result || !regexp.MustCompile(want.seen).MatchString(l.seen) {
				h.Errorf("vigil-drill %q: exit status %d, want %d; %+v, want %+v\n%s", args, got.code, code, l, want, got.stderr)
			}
			return got.stderr
		}
		// No hbwatch runs: it looks by itself.
		said := drill(0, line{result: "ok", seen: `dead \d+\.\d, alive \d+\.\d$`}, "-t", "1m", "svc", "stop")
		if !strings.Contains(said, "warning: svc: no hbwatch that watches it is to be seen") {
			h.Errorf("stderr %q", said)
		}
		// An hbwatch whose deadline lies beyond -t.
		h.background("run/late", "hbwatch", "-hold", h.in("run/hold"), "-suspect", "3s", "-timeout", "10m", h.in("run/hb"))
		h.until("alive", func() bool { return strings.Contains(h.text("run/late"), `"to":"alive"`) })
		drill(1, line{result: "NO", seen: `^suspect \d+\.\d, alive \d+\.\d, but not dead within 9 s$`}, "-e", h.in("run/late"), "-t", "9s", "svc", "stop")
		h.watch("-timeout", "2s", "-timeout", "other=10m")
		drill(1, line{result: "NO", seen: `^failed \d+\.\d, .*not back within 4 s$`}, "-e", h.in("run/events"), "-t", "4s", "svc", "kill")
		_ = service.Wait()
		if got := h.do(nil, h.argv("vigil-drill", "svc", "stop")...); got.code != 111 || !strings.Contains(got.stderr, "names no process") {
			h.Errorf("no process: %+v", got)
		}

		// One that beats whatever the service does, and is no hbsend.
		other := h.background("other", "/bin/sleep", "100000")
		h.background("sender", filepath.Join(h.tree, "scripts/hb.sh"), "run", "-i", "500ms", "-p", "0", h.in("run/hb/other.hb"))
		h.until("its beat", func() bool { return h.text("run/hb/other.hb") != "" })
		pid := strconv.Itoa(other.Process.Pid)
		drill(1, line{result: "NO", seen: `^nobody noticed within 3 s$`}, "-e", h.in("run/events"), "-t", "3s", "-p", pid, "other", "stop")
		if got := state(other.Process.Pid); got != "S" {
			h.Errorf("left in state %s", got)
		}
		drill(0, line{result: "-", seen: `^no hbsend beats for it$`}, "-p", pid, "other", "kill-hbsend")
		h.clean()
	})
}

func TestDrillRefuses(t *testing.T) {
	vigil := vmtest.Helper(t, runtime.GOARCH, "../../../cmd/vigil")
	underEveryShell(t, func(h *host) {
		service := h.serve("-pidfile", h.in("svc.pid"))
		refused := func(code int, want string, args ...string) {
			h.Helper()
			got := h.do(nil, h.argv("vigil-drill", args...)...)
			if got.code != code || !strings.Contains(got.stderr, want) || got.stdout != "" {
				h.Errorf("vigil-drill %q: %+v, want %d and %q", args, got, code, want)
			}
		}
		refused(100, "want the name of a service")
		refused(100, "SVC ../x", "../x", "stop")
		refused(100, "there is no terminal to ask", "svc")
		refused(100, "unknown fault: stop-all", "svc", "stop-all")
		refused(100, "fill: wants -f MIB", "svc", "fill")
		refused(100, "-f x: want a number", "-f", "x", "svc", "fill")
		refused(100, "want a time", "-t", "soon", "svc", "stop")
		refused(111, "none: no such file", "-e", h.in("none"), "svc", "stop")
		refused(111, "no such heartbeat", "other", "stop")
		refused(111, "names no process", "-p", "1", "svc", "stop")
		refused(111, "names no process", "-p", h.in("none"), "svc", "stop")
		refused(0, fmt.Sprintf("would stop pid %d until svc is dead", service.Process.Pid), "-n", "-y", "-f", "4", "svc")
		h.write("vigil", string(vigil), 0o755)
		watcher := h.background("run/events", h.in("vigil"), "hbwatch", "-hold", h.in("run/hold"), h.in("run/hb"))
		h.until("it watches", func() bool { return h.text("run/events") != "" })
		refused(0, fmt.Sprintf("svc: pid %d, watched by hbwatch (pid %d): %s\n", service.Process.Pid, watcher.Process.Pid, h.in("run/events")), "-n", "svc")
		h.terminal("n\n", 1, "nothing was done")
		if got := h.do(nil, filepath.Join(h.tree, "dist/diagfifo"), "hold", "-dir", h.in("run/hold"), "svc", "1m", "gdb"); got.code != 0 {
			h.Fatalf("hold: %+v", got)
		}
		refused(1, "svc: held by ", "svc", "stop")
		if got := state(service.Process.Pid); got != "S" {
			h.Errorf("left in state %s", got)
		}
		h.clean()
	})
}

// terminal has vigil-drill ask on a terminal, and answers.
func (h *host) terminal(answer string, code int, want string) {
	h.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		h.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		h.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.Fatal(err)
	}
	defer terminal.Close()
	if _, err := master.WriteString(answer); err != nil {
		h.Fatal(err)
	}
	var said strings.Builder
	argv := h.argv("vigil-drill", "svc")
	cmd := exec.CommandContext(h.Context(), argv[0], argv[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stderr = h.env, terminal, &said
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(said.String(), "make these faults happen to svc") || !strings.Contains(said.String(), want) {
		h.Errorf("answer %q: exit status %d, want %d; %q", answer, got, code, said.String())
	}
}

// TestDrillUndoes: whatever ends the drill, nothing stays stopped.
func TestDrillUndoes(t *testing.T) {
	underEveryShell(t, func(h *host) {
		service := h.serve("-pidfile", h.in("svc.pid"))
		h.watch("-timeout", "10m")
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			cmd := h.background("out", h.argv("vigil-drill", "-t", "10m", "svc", "stop")...)
			h.until("it is stopped", func() bool { return state(service.Process.Pid) == "T" })
			if err := cmd.Process.Signal(sig); err != nil {
				h.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); sig != syscall.SIGKILL && code != 128+int(sig) {
				h.Errorf("%v: exit status %d\n%s", sig, code, h.text("out.err"))
			}
			h.until("it goes on", func() bool { return state(service.Process.Pid) == "S" })
			h.clean()
		}
	})
}

// onSmallDisk is a run directory with room for a mebibyte, in which everything runs
// that has to do with svc.
const onSmallDisk = `
umask 022
mount -t tmpfs -o size=1m,mode=755 t "$VIGIL_DIR"
cd "$VIGIL_DIR"
mkdir hb hold
sleep 100000 & echo $! >svc.pid
hbsend -q -interval 500ms $SENDER -pidfile svc.pid -hold hold hb/svc.hb 2>/dev/null &
hbwatch -q -timeout 60s -hold hold hb >events 2>/dev/null &
until [ -s events ]; do sleep 0.1; done
`

// TestDrillEndures: what is to raise no alarm, and a full disk that does, because
// the sender needs room for each beat.
func TestDrillEndures(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	underEveryShell(t, func(h *host) {
		inside := func(env []string, script string, args ...string) result {
			h.Helper()
			argv := append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c",
				onSmallDisk + script, "sh"}, h.argv("vigil-drill", args...)...)
			return h.do(env, argv...)
		}
		got := inside(nil, `"$@"; code=$?; ls -A >&2; exit $code`, "-d", "2s", "-f", "8", "svc", "hog", "fill")
		lines := h.lines(got.stdout)
		for _, fault := range []string{"hog", "fill"} {
			if l := lines[fault]; l.result != "ok" || !regexp.MustCompile(`^no alarm in \d+\.\d s, [1-9]\d* beats$`).MatchString(l.seen) {
				h.Errorf("%s: %+v", fault, l)
			}
		}
		if got.code != 0 || !strings.HasSuffix(got.stderr, "\nevents\nhb\nhold\nsvc.pid\n") {
			h.Errorf("exit status %d, stderr %q", got.code, got.stderr)
		}
		got = inside([]string{"SENDER=-atomic"}, `exec "$@"`, "-d", "2s", "-f", "8", "svc", "fill")
		if l := h.lines(got.stdout)["fill"]; got.code != 1 || l.result != "NO" {
			h.Errorf("-atomic: exit status %d, %+v", got.code, l)
		}
		got = inside(nil, `exec "$@"`, "-f", "0", "svc", "fill")
		if l := h.lines(got.stdout)["fill"]; got.code != 1 || l.result != "NO" || !strings.Contains(l.seen, "not tried: ") {
			h.Errorf("-f 0: exit status %d, %+v", got.code, l)
		}
		for _, sig := range []string{"HUP", "TERM", "KILL"} { // in a shell's background, SIGINT is ignored
			got = inside(nil, `"$@" >/dev/null & p=$!
until df . | grep -q 100%; do sleep 0.1; done
kill -`+sig+` $p; wait $p
until [ -z "$(ls -A | grep drill)" ]; do sleep 0.1; done; echo gone`, "-d", "10m", "-f", "8", "svc", "fill")
			if got.stdout != "gone\n" {
				h.Errorf("%s: %+v", sig, got)
			}
		}
	})
}
