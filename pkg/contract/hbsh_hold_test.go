package contract

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// lease reads the hold on an id as a program would.
func (h hbsh) lease(id string) hold.Lease {
	h.Helper()
	text, err := os.ReadFile(h.in(id + ".hold"))
	if err != nil {
		h.Fatal(err)
	}
	l, err := hold.Parse(text, id)
	if err != nil {
		h.Fatal(err)
	}
	return l
}

// reader is a program that honours holds in the directory.
func (h hbsh) reader() *hold.Reader {
	h.Helper()
	r, err := hold.NewReader(h.dir, "tester", time.Hour)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = r.Close() })
	return r
}

// active tells whether r excuses the id x, after a look.
func (h hbsh) active(r *hold.Reader) bool {
	h.Helper()
	now := boottime.Now()
	if _, err := r.Refresh(now); err != nil {
		h.Error(err)
	}
	_, ok := r.Active("x", now)
	return ok
}

func TestHbshHoldsAndReleases(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		r := h.reader()
		before := boottime.Now().Milliseconds() / 10 * 10
		got := run(h.T, []string{"SUDO_USER=", "USER=j\"d", "LOGNAME="}, h.argv("hold", h.dir, "x", "10m", "two", "é\n\xff")...)
		nonce := strings.TrimSuffix(got.stdout, "\n")
		l := h.lease("x")
		want := hold.Lease{
			ID: "x", By: `j"d`, Reason: "two é\n\ufffd", Nonce: nonce, Boot: l.Boot,
			SinceMS: l.SinceMS, UntilMS: l.SinceMS + 600_000,
		}
		if l != want || got.stderr != "" {
			h.Errorf("lease %+v, want %+v\n%s", l, want, got.stderr)
		}
		if l.SinceMS < before || l.SinceMS > boottime.Now().Milliseconds() || !h.active(r) {
			h.Errorf("since %d, began at %d", l.SinceMS, before)
		}
		if info, err := os.Stat(h.in("x.hold")); err != nil || info.Mode() != 0o644 {
			h.Errorf("%v %v", info.Mode(), err)
		}
		refused := h.do(1, "hold", h.dir, "x", "1m")
		if !strings.HasPrefix(refused.stderr, "hb.sh: error: x: held by=j") || strings.Count(refused.stderr, "\n") != 1 {
			h.Errorf("second hold: %q", refused.stderr)
		}
		h.do(0, "wait", "-t", "1m", h.dir, "x", nonce, "tester")
		late := h.do(1, "wait", "-t", "50ms", h.dir, "x", nonce, "tester", "other", "third")
		if !strings.Contains(late.stderr, "not acknowledged by other, third;") {
			h.Errorf("wait: %q", late.stderr)
		}
		h.do(0, "renew", h.dir, "x", nonce, "30m")
		if again := h.lease("x"); again.UntilMS < l.UntilMS+1_190_000 || again.SinceMS != l.SinceMS || again.Reason != l.Reason {
			h.Errorf("renewed: %+v", again)
		}
		wrong := strings.Repeat("0", 32)
		h.do(1, "renew", h.dir, "x", wrong, "1m")
		h.do(1, "release", h.dir, "x", wrong)
		other := hold.Lease{ID: "x.ack.other", Nonce: wrong, Boot: wrong}
		h.write("x.ack.other.hold", string(hold.Append(nil, other)))
		h.do(0, "release", h.dir, "x", nonce)
		if h.active(r) {
			h.Error("still held")
		}
		h.do(1, "release", h.dir, "x", nonce)
		h.do(1, "renew", h.dir, "x", nonce, "1m")
		h.holds(".hold.lock", "x.ack.other.hold")
	})
}

// TestHbshHoldsWithoutALock: what cannot be opened is named, in every shell.
func TestHbshHoldsWithoutALock(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		if err := os.Mkdir(h.in(".hold.lock"), 0o755); err != nil {
			h.Fatal(err)
		}
		if got := h.do(111, "hold", h.dir, "x", "1m"); got.stderr != "hb.sh: error: "+h.in(".hold.lock")+": open: is a directory\n" {
			h.Errorf("hold: %q", got.stderr)
		}
		h.holds(".hold.lock")
	})
}

func TestHbshHoldsWithThePrograms(t *testing.T) {
	dist := filepath.Join(tree.Built(t), "dist")
	diagfifo, watch := filepath.Join(dist, "diagfifo"), filepath.Join(dist, "hbwatch")
	underEveryShell(t, func(h hbsh) {
		h.do(0, "beat", "-s", "error", h.in("x.hb"))
		nonce := strings.TrimSpace(h.do(0, "hold", h.dir, "x", "10m", "gdb").stdout)
		if got := run(h.T, nil, watch, "-once", "-json", "-hold", h.dir, h.dir); got.code != 0 || !strings.Contains(got.stdout, `"state":"held"`) {
			h.Errorf("hbwatch: %+v", got)
		}
		if got := run(h.T, nil, diagfifo, "hold", "-dir", h.dir, "x", "1m"); got.code != 1 {
			h.Errorf("diagfifo hold of what is held: %+v", got)
		}
		if got := run(h.T, nil, diagfifo, "renew", "-dir", h.dir, "-nonce", nonce, "x", "20m"); got.code != 0 {
			h.Errorf("diagfifo renew: %+v", got)
		}
		if got := run(h.T, nil, diagfifo, "release", "-dir", h.dir, "-nonce", nonce, "x"); got.code != 0 {
			h.Errorf("diagfifo release: %+v", got)
		}
		got := run(h.T, nil, diagfifo, "hold", "-dir", h.dir, "x", "1m", `a "b" until_bt_ms":1`)
		h.do(1, "hold", h.dir, "x", "1m")
		nonce = h.lease("x").Nonce
		if !strings.Contains(got.stdout, nonce) {
			h.Errorf("diagfifo hold: %+v", got)
		}
		h.do(0, "renew", h.dir, "x", nonce, "5m")
		if l := h.lease("x"); l.UntilMS-l.SinceMS < 299_000 {
			h.Errorf("renewed: %+v", l)
		}
		h.do(0, "release", h.dir, "x", nonce)
		h.holds(".hold.lock", "x.hb")
	})
}

// stale lists what a new hold replaces.
func stale(boot string) []string {
	text := func(l hold.Lease) string {
		l.ID, l.By, l.Reason, l.Nonce = "x", "me", "r", strings.Repeat("a", 32)
		return string(hold.Append(nil, l))
	}
	return []string{
		text(hold.Lease{Boot: strings.Repeat("0", 32), SinceMS: 1, UntilMS: 1 << 40}),
		text(hold.Lease{Boot: boot, SinceMS: 1, UntilMS: 2}),
		text(hold.Lease{Boot: boot, SinceMS: 1, UntilMS: boottime.Now().Milliseconds()}),
		"", "rubbish\n", strings.Repeat("z", 5000), "{}\n",
	}
}

func TestHbshReplacesStaleHolds(t *testing.T) {
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	underEveryShell(t, func(h hbsh) {
		r := h.reader()
		for _, text := range stale(boot) {
			h.write("x.hold", text)
			nonce := strings.TrimSpace(h.do(0, "hold", h.dir, "x", "1m").stdout)
			if h.lease("x").Nonce != nonce || !h.active(r) {
				h.Errorf("%.60q: not replaced", text)
			}
		}
		h.write("x.hold", stale(boot)[1])
		over := h.do(1, "renew", h.dir, "x", strings.Repeat("a", 32), "1m")
		if !strings.Contains(over.stderr, "it has ended") {
			h.Errorf("renew of what has ended: %q", over.stderr)
		}
		// Longer than this system will run, and longer than 32 bits count.
		l := hold.Lease{ID: "x", Nonce: strings.Repeat("b", 32), Boot: boot, SinceMS: 1, UntilMS: 3_000_000_000_000}
		h.write("x.hold", string(hold.Append(nil, l)))
		h.do(1, "hold", h.dir, "x", "1m")
		h.do(0, "release", h.dir, "x", l.Nonce)
		if err := os.Mkdir(h.in("x.hold"), 0o755); err != nil {
			h.Fatal(err)
		}
		h.do(111, "hold", h.dir, "x", "1m")
		h.do(111, "release", h.dir, "x", l.Nonce)
		h.holds(".hold.lock", "x.hold")
	})
}

// compete lets all of argvs take the hold on x at once, and a few goroutines
// with them; it gives the nonces of those who believe that they have it.
func (h hbsh) compete(env []string, goroutines int, argvs [][]string) (winners []string) {
	h.Helper()
	d, err := rundir.Open(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	defer d.Close()
	var mu sync.Mutex
	var all sync.WaitGroup
	won := func(nonce string) {
		mu.Lock()
		defer mu.Unlock()
		winners = append(winners, nonce)
	}
	for range goroutines {
		all.Go(func() {
			if l, err := hold.Take(d, "x", "go", "r", time.Minute); err == nil {
				won(l.Nonce)
			}
		})
	}
	for _, argv := range argvs {
		all.Go(func() {
			cmd := exec.CommandContext(h.Context(), argv[0], argv[1:]...)
			cmd.Env = append(os.Environ(), env...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			nonce, err := cmd.Output()
			switch {
			case err == nil:
				won(strings.TrimSpace(string(nonce)))
			case cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), ": held by="):
				h.Errorf("%v: %s", err, stderr.String())
			}
		})
	}
	all.Wait()
	return winners
}

func TestHbshConcurrentTakersHaveOneWinner(t *testing.T) {
	gate.Need(t, "shells")
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	var argvs [][]string
	var h hbsh
	underEveryShell(t, func(each hbsh) { h = each }) // for the path
	h.T, h.dir = t, filepath.Join(t.TempDir(), "hold")
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shell := range gate.Shells() {
		h.shell = shell
		argvs = append(argvs, h.argv("hold", h.dir, "x", "1m"), h.argv("hold", h.dir, "x", "1m"))
	}
	bare := "PATH=" + busyboxOnly(t)
	for round := range 10 {
		for _, env := range [][]string{nil, {bare}} {
			if text := stale(boot)[round%3]; round > 0 {
				h.write("x.hold", text)
			}
			winners := h.compete(env, 4*(1-len(env)), argvs)
			if len(winners) != 1 || h.lease("x").Nonce != winners[0] {
				t.Fatalf("%s: winners %q, hold of %s", env, winners, h.lease("x").Nonce)
			}
			h.do(0, "release", h.dir, "x", winners[0])
		}
	}
	h.holds(".hold.lock")
}

// busyboxOnly makes a directory with nothing but the applets of busybox, of
// which flock(1) is none, and the shells.
func busyboxOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	link := func(program, name string) {
		path, err := exec.LookPath(program)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	for _, shell := range gate.Shells() {
		link(shell[0], shell[0])
	}
	applets := strings.Fields(run(t, nil, "busybox", "--list").stdout)
	for _, name := range slices.DeleteFunc(applets, func(s string) bool { return s == "flock" || s == "busybox" }) {
		link("busybox", name)
	}
	return dir
}

func TestHbshNeedsOnlyBusybox(t *testing.T) {
	gate.Need(t, "shells")
	bare := "PATH=" + busyboxOnly(t)
	underEveryShell(t, func(h hbsh) {
		do := func(code int, args ...string) string {
			h.Helper()
			got := run(h.T, []string{bare}, h.argv(args...)...)
			if got.code != code || (code == 0) != (got.stderr == "") {
				h.Fatalf("%q: %+v", args, got)
			}
			return strings.TrimSpace(got.stdout)
		}
		h.write(".tmp.x.hb,0", "left behind")
		for range 11 {
			do(0, "beat", "-i", "1s", "-M", "é\n", "-k", h.key(vectorKey, 0o600), h.in("x.hb"))
		}
		nonce := do(0, "hold", h.dir, "x", "1m")
		do(1, "hold", h.dir, "x", "1m")
		h.write("x.ack.a", nonce+"\n")
		do(0, "wait", h.dir, "x", nonce, "a")
		do(0, "renew", h.dir, "x", nonce, "1m")
		do(0, "release", h.dir, "x", nonce)
		if err := os.Chmod(h.dir, 0o777); err != nil {
			h.Fatal(err)
		}
		do(111, "beat", h.in("x.hb"))
		if err := os.Chmod(h.dir, 0o755); err != nil {
			h.Fatal(err)
		}
		if r := h.record("x"); r.Seq != 11 || r.Msg != "é\n" || r.Sig == "" {
			h.Errorf("record %+v", r)
		}
		h.holds("x.hb")
	})
}

// TestHbshBrokenLock: a shell that was killed while it kept others out does so
// for a minute at most.
func TestHbshBrokenLock(t *testing.T) {
	gate.Need(t, "shells")
	bare := []string{"PATH=" + busyboxOnly(t)}
	underEveryShell(t, func(h hbsh) {
		if err := os.Mkdir(h.in(".hold.busy"), 0o755); err != nil {
			h.Fatal(err)
		}
		got := run(h.T, bare, h.argv("hold", h.dir, "x", "1m")...)
		if want := fmt.Sprintf("hb.sh: error: %s/.hold.busy: lock: somebody else holds it\n", h.dir); got.code != 111 || got.stderr != want {
			h.Errorf("%+v, want %q", got, want)
		}
		old := time.Now().Add(-3 * time.Minute)
		if err := os.Chtimes(h.in(".hold.busy"), old, old); err != nil {
			h.Fatal(err)
		}
		if got := run(h.T, bare, h.argv("hold", h.dir, "x", "1m")...); got.code != 0 {
			h.Errorf("%+v", got)
		}
		h.holds("x.hold")
	})
}
