package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
)

// quick is settle for what another process is about to do.
func (h hbsh) quick(what string, condition func() bool) {
	h.Helper()
	if !settle(condition) {
		h.Fatalf("not in time: %s", what)
	}
}

// seq is that of the record, 0 without one.
func (h hbsh) seq(id string) uint64 {
	text, err := os.ReadFile(h.in(id + ".hb"))
	if err != nil {
		return 0
	}
	r, err := heartbeat.Parse(text, id)
	if err != nil {
		h.Error(err) // it is never seen half-written
	}
	return r.Seq
}

// start starts hb.sh as a command; finish sends it a signal and gives what it
// has said.
func (h hbsh) start(args ...string) (pid int, finish func(sig syscall.Signal) result) {
	h.Helper()
	argv := h.argv(args...)
	cmd := exec.CommandContext(h.Context(), argv[0], argv[1:]...)
	cmd.Dir = filepath.Dir(h.dir)
	stderr, err := os.Create(filepath.Join(cmd.Dir, "stderr"))
	if err != nil {
		h.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	return cmd.Process.Pid, func(sig syscall.Signal) result {
		h.Helper()
		if err := cmd.Process.Signal(sig); err != nil {
			h.Error(err)
		}
		_ = cmd.Wait()
		said, err := os.ReadFile(stderr.Name())
		if err != nil {
			h.Error(err)
		}
		return result{code: cmd.ProcessState.ExitCode(), stderr: bashBug.ReplaceAllString(string(said), "")}
	}
}

// bashBug is what bash says of itself, and goes on, when a signal with a trap
// comes as the child ends that it waits for.
var bashBug = regexp.MustCompile(`(?m)^.*: wait_for: No record of process [0-9]+\n`)

func TestHbshRuns(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			last := h.seq("x")
			pid, finish := h.start("run", "-i", "20ms", "-M", "hum", "-k", h.key(vectorKey, 0o600), "hb/x.hb")
			h.quick("beats", func() bool { return h.seq("x") > last+2 })
			before := h.seq("x")
			if got := finish(sig); got.code != 0 || got.stderr != "" {
				h.Errorf("%v: %+v", sig, got)
			}
			if r := h.record("x"); r.Status != heartbeat.Stopping || r.PID != pid || r.IntervalMS != 20 || r.Seq <= before {
				h.Errorf("%v: last record %+v after seq %d", sig, r, before)
			}
		}
		// A long interval does not put off the end.
		_, finish := h.start("run", "-i", "1h", "hb/y.hb")
		h.quick("a beat", func() bool { return h.seq("y") == 1 })
		if got := finish(syscall.SIGTERM); got.code != 0 || h.seq("y") != 2 {
			h.Errorf("%+v, seq %d", got, h.seq("y"))
		}
		h.quick("no process left", func() bool { return len(strays(h.T, h.dir)) == 0 })
		h.holds("x.hb", "y.hb")
	})
}

func TestHbshOutlivesItsDirectory(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		h.do(111, "run", h.in("none/x.hb"))
		pid, finish := h.start("run", "-i", "20ms", "hb/x.hb")
		h.quick("a beat", func() bool { return h.seq("x") > 0 })
		if err := os.Rename(h.dir, h.dir+".gone"); err != nil {
			h.Fatal(err)
		}
		h.quick("a complaint", func() bool {
			info, err := os.Stat(filepath.Join(filepath.Dir(h.dir), "stderr"))
			return err == nil && info.Size() > 0
		})
		tries := map[string]bool{}
		h.quick("more tries", func() bool {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
			tries[string(children)] = err == nil
			return len(tries) > 4
		})
		if err := os.Mkdir(h.dir, 0o755); err != nil {
			h.Fatal(err)
		}
		h.quick("beats again", func() bool { return h.seq("x") > 1 })
		got := finish(syscall.SIGTERM)
		want := "hb.sh: error: hb: open directory: no such file or directory; trying on\n"
		if got.code != 0 || got.stderr != want {
			h.Errorf("%+v, want %q", got, want)
		}
	})
}

// TestHbshLeavesItsCallerAlone: what a script has set is as before, whatever
// it was and however the call ended.
func TestHbshLeavesItsCallerAlone(t *testing.T) {
	const script = `
		trap 'echo "trap, id $id"' EXIT
		IFS=: id=mine dir=mine tmp=mine text=mine s=mine
		set -Cefu
		umask 027
		cd /
		hb_beat -s error "$D/x.hb"
		if hb_beat -x 2>/dev/null; then :; else echo "code $?"; fi
		nonce=$(hb_hold "$D" x 1m)
		hb_wait -t 10ms "$D" x "$nonce" nobody 2>/dev/null || echo "code $?"
		hb_release "$D" x "$nonce"
		hb_beat "$D" 2>/dev/null || echo "code $?"
		echo "$id $dir $tmp $text $s $IFS $PWD $# $1 $(umask) ${number-} ${seq-} ${kind-}"
		case $- in *e*) echo e ;; esac
		case $- in *f*) echo f ;; esac
		case $- in *C*) echo C ;; esac`
	underEveryShell(t, func(h hbsh) {
		got := h.source(nil, script, "one", "two")
		want := "code 100\ncode 1\ncode 100\nmine mine mine mine mine : / 2 one 0027   \ne\nf\nC\ntrap, id mine\n"
		if got.stdout = strings.Replace(got.stdout, " 027 ", " 0027 ", 1); got.code != 0 || got.stderr != "" || got.stdout != want {
			h.Errorf("%+v, want %q", got, want)
		}
		if r := h.record("x"); r.Status != heartbeat.Error {
			h.Errorf("record %+v", r)
		}
		pid := h.source(nil, `hb_beat "$D/x.hb"; echo $$`).stdout
		if r := h.record("x"); strconv.Itoa(r.PID) != strings.TrimSpace(pid) {
			h.Errorf("pid %d, want that of the script, %s", r.PID, pid)
		}
		h.holds(".hold.lock", "x.hb")
	})
}

func TestHbshReadsNothingIntoTheEnvironment(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		env := []string{
			"TIME_STYLE=+%s %s", "BLOCK_SIZE=1M", "LS_BLOCK_SIZE=1K", "POSIXLY_CORRECT=1", "LC_ALL=C.UTF-8", "CDPATH=/", "OPTIND=7",
			"tmp=" + h.in("victim"), "busy=" + h.dir, "json=x", "key=/etc/passwd", "inner=x", "status=error", "pid=1", "end=1", "boot=x",
		}
		h.write("victim", "")
		h.do(0, "beat", h.in("x.hb"))
		for range 2 {
			if got := run(h.T, env, h.argv("beat", "-m", "a=1", "-m", "b=2", h.in("x.hb"))...); got.code != 0 || got.stderr != "" {
				h.Errorf("%+v", got)
			}
		}
		if r := h.record("x"); r.Seq != 3 || r.Status != heartbeat.OK || r.Msg != "" || r.Sig != "" || len(r.Metrics) != 2 {
			h.Errorf("record %+v", r)
		}
		h.holds("victim", "x.hb")
	})
}

// TestHbshPage holds the page to the script, both ways.
func TestHbshPage(t *testing.T) {
	p := parsePage(read(t, "scripts/hb.sh.8"))
	help := run(t, nil, filepath.Join(root, "scripts/hb.sh"), "-h").stdout
	flags := harvest(help, helpFlag)
	if have := p.flags(); len(lacks(have, flags)) > 0 || len(lacks(flags, have)) > 0 {
		t.Errorf("the page explains %q, the script %q", have, flags)
	}
	for _, code := range harvest(p.text["EXIT STATUS"], pageExit) {
		if !strings.Contains(strings.Join(strings.Fields(help), " "), " "+code+" ") {
			t.Errorf("-h says nothing of exit status %s", code)
		}
	}
	for _, command := range []string{"beat", "run", "hold", "renew", "release", "wait"} {
		if !strings.Contains(p.text["SYNOPSIS"], command) || !strings.Contains(help, command) {
			t.Errorf("%s: not in the SYNOPSIS or in -h", command)
		}
	}
	if title := p.missing(); title != "" {
		t.Errorf("section %s is missing or out of place", title)
	}
}

func TestHbshPageExamplesParse(t *testing.T) {
	gate.Need(t, "shells")
	text := parsePage(read(t, "scripts/hb.sh.8")).text["EXAMPLES"]
	for _, shell := range gate.Shells() {
		for _, part := range strings.Split(text, ".Bd -literal -offset indent\n")[1:] {
			example, _, _ := strings.Cut(part, ".Ed")
			example = strings.NewReplacer(`\e`, `\`, `\&`, "").Replace(example)
			check := exec.CommandContext(t.Context(), shell[0], append(shell[1:len(shell):len(shell)], "-n")...)
			check.Stdin = strings.NewReader(example)
			if output, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s in\n%s", shell, err, output, example)
			}
		}
	}
}
