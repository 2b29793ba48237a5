package contract

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// hbsh is scripts/hb.sh under one shell, with a directory to write in.
type hbsh struct {
	*testing.T
	shell []string
	path  string // of hb.sh
	dir   string
}

func underEveryShell(t *testing.T, test func(h hbsh)) {
	gate.Need(t, "shells")
	path, err := filepath.Abs(filepath.Join(root, "scripts/hb.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hb")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			test(hbsh{t, shell, path, dir})
		})
	}
}

// argv is hb.sh as a command.
func (h hbsh) argv(args ...string) []string {
	return slices.Concat(h.shell, []string{h.path}, args)
}

// do runs hb.sh as a command, which has to end with code; its messages are
// given, of which there are none if it succeeds.
func (h hbsh) do(code int, args ...string) result {
	h.Helper()
	got := run(h.T, nil, h.argv(args...)...)
	if got.code != code || (code == 0) != (got.stderr == "") {
		h.Fatalf("hb.sh %q: exit status %d, want %d; stderr %q", args, got.code, code, got.stderr)
	}
	return got
}

// source runs a script that has read hb.sh; $D is the directory.
func (h hbsh) source(env []string, script string, args ...string) result {
	h.Helper()
	env = append(env, "D="+h.dir, "H="+h.path)
	return run(h.T, env, slices.Concat(h.shell, []string{"-c", ". \"$H\"\n" + script, "script"}, args)...)
}

func (h hbsh) in(name string) string { return filepath.Join(h.dir, name) }

func (h hbsh) write(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.in(name), []byte(text), 0o644); err != nil {
		h.Fatal(err)
	}
}

// record reads ID.hb as a reader would.
func (h hbsh) record(id string) heartbeat.Record {
	h.Helper()
	d, err := rundir.Open(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	defer d.Close()
	r, info, err := heartbeat.ReadUnder(d, id+heartbeat.Suffix, heartbeat.Terms{})
	if err != nil {
		h.Fatalf("%s: %v", id, err)
	}
	if info.Mode != 0o644 {
		h.Errorf("%s: mode %v, want 0644", id, info.Mode)
	}
	return r
}

// holds wants exactly these files in the directory.
func (h hbsh) holds(want ...string) {
	h.Helper()
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		h.Errorf("files %q, want %q", names, want)
	}
}

func TestHbshBeats(t *testing.T) {
	watch := filepath.Join(tree.Built(t), "dist/hbwatch")
	underEveryShell(t, func(h hbsh) {
		boot, err := boottime.ID()
		if err != nil {
			h.Fatal(err)
		}
		before := boottime.Now().Milliseconds()
		h.do(0, "beat", "-i", "1m30s", "-t", "1500", "-s", "degraded", "-M", `all "well"`,
			"-m", "q.len=17", "-m", "load_1=-0.25", "-m", "n=1e3", h.in("svc-A.hb"))
		r := h.record("svc-A")
		if r.BTMS < before/10*10 || r.BTMS > boottime.Now().Milliseconds() {
			h.Errorf("bt_ms %d, began at %d", r.BTMS, before)
		}
		if d := time.Since(time.UnixMilli(r.TSMS)); d < 0 || d > time.Hour {
			h.Errorf("ts_ms %d is %v ago", r.TSMS, d)
		}
		want := heartbeat.Record{
			ID: "svc-A", PID: os.Getpid(), Boot: boot, Seq: 1, TSMS: r.TSMS, BTMS: r.BTMS,
			IntervalMS: 90000, TTLMS: 1500, Status: heartbeat.Degraded, Msg: `all "well"`,
			Metrics: []heartbeat.Metric{{Name: "q.len", Value: 17}, {Name: "load_1", Value: -0.25}, {Name: "n", Value: 1000}},
		}
		if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
			h.Errorf("record %+v\nwant   %+v", r, want)
		}
		h.do(0, "beat", "-i1h", "-p", "0", h.in("svc-A.hb"))
		got := run(h.T, nil, watch, "-once", "-json", h.dir)
		if got.code != 0 || !strings.Contains(got.stdout, `"id":"svc-A","state":"alive"`) ||
			!strings.Contains(got.stdout, `"seq":2,"status":"ok"`) || strings.Contains(got.stdout, "pid") && h.record("svc-A").PID != 0 {
			h.Errorf("hbwatch: %+v", got)
		}
		h.holds("svc-A.hb")
	})
}

func TestHbshCountsOn(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		got := h.source(nil, `umask 077
			i=0
			while [ "$i" -lt 50 ]; do
				hb_beat "$D/x.hb" || exit
				i=$((i + 1))
			done`)
		if got.code != 0 || got.stderr != "" || h.record("x").Seq != 50 {
			h.Errorf("after 50 beats: %+v, seq %d", got, h.record("x").Seq)
		}
		for _, test := range []struct {
			text string
			seq  uint64
		}{
			{`{"id":"x","seq":7,"status":"OK"}` + "\n", 8},
			{`{"msg":"\"seq\":5","seq":99999998}` + "\n", 99999999},
			{`{"seq":99999999}` + "\n", 100000000},
			{`{"seq":2147483647}` + "\n", 2147483648},
			{`{"seq":199999999}` + "\n", 200000000},
			{`{"seq":9007199254740991}` + "\n", 9007199254740992},
			{`{"seq":18446744073709551615}` + "\n", 1},
			{`{"seq":-3}` + "\n", 1},
			{`{"seq":"08"}` + "\n", 9},
			{"", 1},
			{"\x00\xff", 1},
			{strings.Repeat("z", 5000) + `"seq":3,`, 1},
		} {
			h.write("x.hb", test.text)
			h.do(0, "beat", h.in("x.hb"))
			if seq := h.record("x").Seq; seq != test.seq {
				h.Errorf("after %.40q: seq %d, want %d", test.text, seq, test.seq)
			}
		}
	})
}

func TestHbshBeatsFasterThanTheClockShows(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		got := h.source(nil, `for i in 1 2 3; do
			up_is() { up=5 up_ms=20 boot=0123456789abcdef0123456789abcdef; }
			(hb__begin; hb__now() { up_is; }; hb__options "$D/x.hb"; hb__beat)
			sed 's/.*"bt_ms":\([0-9]*\).*/\1/' "$D/x.hb"
		done`)
		if got.stdout != "5020\n5021\n5022\n" {
			h.Errorf("bt_ms of three beats: %+v", got)
		}
	})
}

func TestHbshEscapes(t *testing.T) {
	messages := []string{
		`q"b\`, "line\nline\n", "\x1b[31m\x7f\t\r\x01", "é€😀", "\xc3", "\xe2\x82x", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xc0\xaf\xf5", "%s%b\\0101\\c", "-n", "$(id)`id`", "é\"", "*", "{}[]", strings.Repeat("é", 1900),
	}
	seed := [32]byte{1}
	random := rand.NewChaCha8(seed)
	for range 20 {
		b := make([]byte, 60)
		_, _ = random.Read(b)
		messages = append(messages, string(bytes.ReplaceAll(b, []byte{0}, []byte{0xe2})))
	}
	underEveryShell(t, func(h hbsh) {
		for _, msg := range messages {
			h.do(0, "beat", "-M", msg, h.in("x.hb"))
			if got, want := h.record("x").Msg, string([]rune(msg)); got != want {
				h.Errorf("message %q arrived as %q", msg, got)
			}
		}
	})
}

func TestHbshRefusesUsage(t *testing.T) {
	long := strings.Repeat("x", 65)
	underEveryShell(t, func(h hbsh) {
		file := h.in("x.hb")
		for _, args := range [][]string{
			{}, {"beats"}, {"-x"}, {"beat"}, {"beat", "-x", file}, {"beat", file, "more"}, {"beat", "-i"}, {"run"},
			{"beat", h.in("x")}, {"beat", h.in(".hb")}, {"beat", h.in(".x.hb")}, {"beat", h.in("-x.hb")}, {"beat", h.in("a b.hb")},
			{"beat", h.in(long + ".hb")}, {"beat", h.in("é.hb")}, {"beat", h.dir + "/"}, {"beat", ""},
			{"beat", "-i", "0", file}, {"beat", "-i", "5x", file}, {"beat", "-i", "s", file}, {"beat", "-i", "-5s", file}, {"beat", "-i", "", file},
			{"beat", "-i", "1.5s", file}, {"beat", "-i", "99999999999s", file}, {"beat", "-t", "0s", file},
			{"beat", "-s", "fine", file}, {"beat", "-s", "", file}, {"beat", "-p", "-1", file}, {"beat", "-p", "08", file},
			{"beat", "-m", "q", file}, {"beat", "-m", "=1", file}, {"beat", "-m", `a"b=1`, file}, {"beat", "-m", long + "=1", file},
			{"beat", "-m", "q=NaN", file}, {"beat", "-m", "q=1e999", file}, {"beat", "-m", "q=inf", file}, {"beat", "-m", "q=", file},
			{"beat", "-m", "q=0x10", file}, {"beat", "-m", "q=01", file}, {"beat", "-m", "q=1.", file}, {"beat", "-m", "q=.5", file},
			{"beat", "-m", "q=1\n2", file}, {"beat", "-m", "q=1=2", file}, {"beat", "-m", "q=1.2.3", file}, {"beat", "-m", "q=1e", file},
			{"beat", "-m", "q=" + strings.Repeat("9", 400), file}, {"beat", "-m", "q=1", "-m", "q=2", file},
			append(append([]string{"beat"}, strings.Fields(strings.Repeat("-m q=1 ", 17))...), file),
			{"beat", "-M", strings.Repeat("x", 5000), file},
			{"hold", h.dir, "../x", "1m"}, {"hold", h.dir, ".x", "1m"}, {"hold", h.dir, "", "1m"}, {"hold", h.dir, "x"}, {"hold", h.dir, "x", "soon"},
			{"hold", h.dir, "x", "1m", strings.Repeat("x", 257)}, {"hold", "-x", h.dir, "x", "1m"}, {"renew", h.dir, "x", "1m"},
			{"renew", h.dir, "x", "", "1m"}, {"release", h.dir, "x"}, {"release", h.dir, "x", "*"}, {"release", h.dir, "../x", "00"},
			{"wait", h.dir, "x", "00"}, {"wait", "-t", "x", h.dir, "x", "00", "a"}, {"wait", h.dir, "x", "00", "../a"},
		} {
			got := h.do(100, args...)
			if !strings.HasPrefix(got.stderr, "hb.sh: error: ") || !strings.Contains(got.stderr, "\nusage: hb.sh ") ||
				strings.Count(got.stderr, "\n") != 2 || got.stdout != "" {
				h.Errorf("hb.sh %q: stdout %q, stderr %q", args, got.stdout, got.stderr)
			}
		}
		got := h.do(100, "beat", "-M", strings.Repeat("x", 4000), file)
		if !strings.Contains(got.stderr, "want at most 4096") {
			h.Errorf("record too long: %q", got.stderr)
		}
		h.holds()
	})
}

// TestHbshTrustsAsTheProgramsDo compares its words with theirs.
func TestHbshTrustsAsTheProgramsDo(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		for _, mode := range []os.FileMode{0o777, 0o775, 0o757, 0o1777 | os.ModeSticky, 0o722 | os.ModeSetgid} {
			if err := os.Chmod(h.dir, mode); err != nil {
				h.Fatal(err)
			}
			_, err := rundir.Open(h.dir)
			for _, args := range [][]string{{"beat", h.in("x.hb")}, {"hold", h.dir, "x", "1m"}} {
				if got := h.do(111, args...); err == nil || got.stderr != "hb.sh: error: "+err.Error()+"\n" {
					h.Errorf("%v: %q, want %v", mode, got.stderr, err)
				}
			}
		}
		if err := os.Chmod(h.dir, 0o755); err != nil {
			h.Fatal(err)
		}
		h.write("file", "")
		for _, dir := range []string{h.in("none"), h.in("file")} {
			_, err := rundir.Open(dir)
			if got := h.do(111, "beat", dir+"/x.hb"); err == nil || got.stderr != "hb.sh: error: "+err.Error()+"\n" {
				h.Errorf("%q, want %v", got.stderr, err)
			}
		}
		if err := os.Mkdir(h.in("d.hb"), 0o755); err != nil {
			h.Fatal(err)
		}
		if err := os.Symlink("file", h.in("l.hb")); err != nil {
			h.Fatal(err)
		}
		if err := syscall.Mkfifo(h.in("p.hb"), 0o644); err != nil {
			h.Fatal(err)
		}
		for _, name := range []string{"d.hb", "l.hb", "p.hb"} {
			if got, want := h.do(111, "beat", h.in(name)), h.in(name)+": open: not a regular file\n"; got.stderr != "hb.sh: error: "+want {
				h.Errorf("%q, want %q", got.stderr, want)
			}
		}
		h.holds("d.hb", "file", "l.hb", "p.hb")
	})
}

func TestHbshStrangersDirectory(t *testing.T) {
	gate.Need(t, "root")
	underEveryShell(t, func(h hbsh) {
		if err := os.Chown(h.dir, 4321, 4321); err != nil {
			h.Fatal(err)
		}
		_, err := rundir.Open(h.dir)
		if got := h.do(111, "beat", h.in("x.hb")); err == nil || got.stderr != "hb.sh: error: "+err.Error()+"\n" {
			h.Errorf("%q, want %v", got.stderr, err)
		}
	})
}

// killed runs a script in a process group of its own, which it may kill.
func (h hbsh) killed(script string) {
	h.Helper()
	argv := slices.Concat(h.shell, []string{"-c", ". " + h.path + "\n" + script})
	cmd := exec.CommandContext(h.Context(), argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		h.Fatalf("%v\n%s", err, output)
	}
}

func TestHbshKilledHalfWay(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		h.do(0, "beat", "-M", "before", h.in("x.hb"))
		h.killed("mv() { kill -9 0; }\nhb_beat -M lost " + h.in("x.hb"))
		h.killed("ln() { kill -9 0; }\nhb_hold " + h.dir + " x 1m")
		if r := h.record("x"); r.Msg != "before" {
			h.Errorf("record %+v", r)
		}
		left, err := os.ReadDir(h.dir)
		if err != nil {
			h.Fatal(err)
		}
		for _, e := range left {
			if _, ok := heartbeat.FileID(e.Name()); ok && e.Name() != "x.hb" || strings.HasSuffix(e.Name(), ".hold") {
				h.Errorf("counts: %s", e.Name())
			}
		}
		for range 12 {
			h.do(0, "beat", h.in("x.hb"))
		}
		if left, err := filepath.Glob(h.in(".tmp.x.hb*")); len(left) > 0 || err != nil {
			h.Errorf("not cleared away: %q %v", left, err)
		}
	})
}

func TestHbshFullDisk(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	const script = `
		mount -t tmpfs -o size=16k,mode=755 vigil "$D" && hb_beat -M before "$D/x.hb" || exit
		cat /dev/zero >"$D/fill" 2>/dev/null
		hb_beat "$D/x.hb"
		echo "$?"
		rm "$D/fill"
		grep -c before "$D/x.hb"
		ls -A "$D"`
	underEveryShell(t, func(h hbsh) {
		argv := slices.Concat(h.shell, []string{"-c", ". \"$H\"\n" + script})
		cmd := exec.CommandContext(h.Context(), argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "D="+h.dir, "H="+h.path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		output, err := cmd.CombinedOutput()
		want := "hb.sh: error: " + h.in("x.hb") + ": write: no space left on device\n111\n1\nx.hb\n"
		if err != nil || string(output) != want {
			h.Errorf("%v\n%s\nwant\n%s", err, output, want)
		}
	})
}

func mac(key, text []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write(text)
	return hex.EncodeToString(m.Sum(nil))
}
