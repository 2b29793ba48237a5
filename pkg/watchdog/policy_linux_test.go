package watchdog

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
)

// spoken is a supervisor, or a hook, that remembers what it was told.
type spoken struct {
	mu    sync.Mutex
	texts []string
	fault error
}

func (s *spoken) Send(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.texts = append(s.texts, text)
	}
	return s.fault
}

func (s *spoken) Submit(key string, vars []string) { _ = s.Send(key + " " + strings.Join(vars, " ")) }

func (s *spoken) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.texts, "")
}

func (s *spoken) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// ledgerOf gives a run a ledger with the entries, and its path.
func ledgerOf(t *testing.T, c *Config, entries ...Entry) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ledger")
	l := opened(t, name)
	for i := range entries {
		if err := l.Add(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.Ledger = opened(t, name)
	return name
}

// words gives the marks in the ledger, with the ids.
func words(t *testing.T, name string) string {
	t.Helper()
	entries, err := ReadLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, strings.TrimSpace(marks[e.Mark]+" "+e.ID))
	}
	return strings.Join(all, ", ")
}

// TestStarvingIsKept: the ledger, then the hook and the supervisor; and a recovery.
func TestStarvingIsKept(t *testing.T) {
	var name string
	hook, supervisor := &spoken{}, &spoken{}
	r := start(t, func(r *run, c *Config) {
		name = ledgerOf(t, c)
		c.OnStarve, c.Notify, c.Watch, c.Supervisor = hook, NotifyMain, time.Minute, supervisor
	})
	r.await("feeding", 1)
	r.set(false)
	r.await("starving", 1)
	eventually(t, "trigger", func() bool { return strings.Contains(supervisor.all(), "WATCHDOG=trigger\n") })
	// It was told when the line was on the disk.
	if got, want := words(t, name), "start, armed, starving svc"; got != want {
		t.Errorf("ledger %q, want %q", got, want)
	}
	want := "starving WD_EVENT=starving WD_ID=svc WD_REASON=missing WD_DEVICE=/dev/watchdog WD_TIMEOUT_MS=60000"
	if got := hook.all(); got != want {
		t.Errorf("hook got %q, want %q", got, want)
	}
	if got := r.text(); !strings.Contains(got, "starving: starving: svc: missing; reset in 1m0s\n") {
		t.Errorf("told\n%s", got)
	}
	r.set(true)
	r.await("feeding", 2)
	if outcome, err := r.stop(); outcome != Disarmed || err != nil {
		t.Errorf("%d, %v", outcome, err)
	}
	if got, want := words(t, name), "start, armed, starving svc, feeding, disarmed"; got != want {
		t.Errorf("ledger %q, want %q", got, want)
	}
	got := supervisor.all()
	if !strings.HasPrefix(got, "READY=1\n") || !strings.HasSuffix(got, "STOPPING=1\n") || strings.Count(got, "trigger") != 1 {
		t.Errorf("supervisor got %q", got)
	}
}

// TestStarvingAtTheEnd: the last line in the ledger stays the one that matters.
func TestStarvingAtTheEnd(t *testing.T) {
	var name string
	r := start(t, func(r *run, c *Config) { name = ledgerOf(t, c); c.Latch = true })
	r.await("feeding", 1)
	r.set(false)
	r.await("starving", 1)
	r.set(true)
	r.moreLooks()
	if outcome, err := r.stop(); outcome != Armed || err != nil || !r.fake.armed() {
		t.Errorf("%d, %v", outcome, err)
	}
	if got, want := words(t, name), "start, armed, starving svc"; got != want {
		t.Errorf("ledger %q, want %q", got, want)
	}
	if got := r.text(); !strings.Contains(got, "left armed: starving: svc: missing, and -latch; resets within 1m0s\n") {
		t.Errorf("told\n%s", got)
	}
}

// full lets a ledger write to a disk that is full.
func full(t *testing.T, l *Ledger) {
	t.Helper()
	fd, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(fd, l.fd, unix.O_CLOEXEC)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
}

// TestLedgerFails: it is said once and delays nothing.
func TestLedgerFails(t *testing.T) {
	r := start(t, func(r *run, c *Config) { ledgerOf(t, c) })
	r.await("armed", 1)
	full(t, r.ledger)
	for i := range 3 {
		r.set(false)
		r.await("starving", i+1)
		r.set(true)
		r.await("feeding", i+2)
	}
	before := r.fake.count("KEEPALIVE")
	eventually(t, "pings", func() bool { return r.fake.count("KEEPALIVE") > before })
	if outcome, err := r.stop(); outcome != Disarmed || err != nil {
		t.Errorf("%d, %v", outcome, err)
	}
	if got := r.text(); strings.Count(got, ": ledger: write: no space left on device") != 1 {
		t.Errorf("told\n%s", got)
	}
}

// TestLedgerRefusedAtTheStart: nothing is armed.
func TestLedgerRefusedAtTheStart(t *testing.T) {
	r := start(t, func(r *run, c *Config) {
		ledgerOf(t, c)
		full(t, c.Ledger)
	})
	<-r.ended
	if r.err == nil || r.outcome != Disarmed || r.fake.said() != "" {
		t.Errorf("%d, %v", r.outcome, r.err)
	}
}

func TestArmAfter(t *testing.T) {
	var name string
	r := start(t, func(r *run, c *Config) {
		name = ledgerOf(t, c)
		r.set(false)
		c.ArmAfter, c.Grace = 50*time.Millisecond, 0
	})
	r.await("armed", 1)
	eventually(t, "ledger", func() bool { return words(t, name) == "start, armed, starving svc" })
	if n := r.fake.count("KEEPALIVE"); n != 0 {
		t.Errorf("%d pings", n)
	}
	if outcome, err := r.stop(); outcome != Armed || err != nil || r.told("late") != 1 {
		t.Errorf("%d, %v; told\n%s", outcome, err, r.text())
	}
}

// TestStandDown: after too many resets the device is not opened, and all else goes on.
func TestStandDown(t *testing.T) {
	now := time.Now().UnixMilli()
	reset := Entry{Boot: bootA, TimeMS: now - 60_000, Mark: Started, Reset: Certain, ID: "svc"}
	starved := Entry{Boot: bootC, TimeMS: now - 1000, Mark: Starving, Timeout: time.Minute, ID: "svc", Reason: "missing"}
	for _, tt := range []struct {
		name string
		max  int
		end  string
	}{
		{"too many", 2, "start svc, stood_down, starving svc"},
		{"not yet", 3, "start svc, armed, starving svc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var name string
			r := start(t, func(r *run, c *Config) {
				name = ledgerOf(t, c, reset, starved)
				// Longer than this machine has been up: that is time that has passed.
				c.MaxResets, c.ResetsIn = tt.max, boottime.Now().Truncate(time.Hour)+2*time.Hour
			})
			r.await("feeding", 1)
			r.set(false)
			r.await("starving", 1)
			r.stop()
			if got, want := words(t, name), "start svc, starving svc, "+tt.end; got != want {
				t.Errorf("ledger %q, want %q", got, want)
			}
			stood := strings.Contains(tt.end, "stood_down")
			if text := r.text(); r.told("reset") != 1 || !strings.Contains(text, "last reset: watchdog (probable), starved of svc: missing\n") ||
				stood != strings.Contains(text, "STANDING DOWN: 2 resets within ") || stood != strings.Contains(text, " by the watchdog: /dev/watchdog is not armed\n") {
				t.Errorf("told\n%s", text)
			}
			if calls := r.fake.said(); stood != (calls == "") {
				t.Errorf("device: %s", calls)
			}
			if want := map[bool]Outcome{true: Disarmed, false: Armed}[stood]; r.outcome != want {
				t.Errorf("outcome %d, want %d", r.outcome, want)
			}
		})
	}
}

// TestFirstOfTheBoot: the boot before is asked about once.
func TestFirstOfTheBoot(t *testing.T) {
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	var name string
	r := start(t, func(r *run, c *Config) {
		name = ledgerOf(t, c, Entry{Boot: bootA, Mark: Starving, Timeout: time.Minute, ID: "svc"}, Entry{Boot: boot, Mark: Started})
	})
	r.await("armed", 1)
	r.stop()
	if got, want := words(t, name), "starving svc, start, start, armed, disarmed"; got != want || r.told("reset") != 0 {
		t.Errorf("ledger %q, want %q", got, want)
	}
}

func TestPretimeout(t *testing.T) {
	var usage *cli.UsageError
	r := start(t, func(r *run, c *Config) { c.Pretimeout = 10 * time.Second; r.fake.shorten = true })
	r.await("feeding", 1)
	if got, want := r.text(), "armed: Fake Watchdog, timeout 1m0s, pretimeout 5s (asked for 10s)\n"; !strings.Contains(got, want) {
		t.Errorf("told\n%swant\n%s", got, want)
	}
	r.stop()
	if got, want := r.fake.said(), "open /dev/watchdog; SETTIMEOUT 60; GETTIMEOUT; SETPRETIMEOUT 10; GETPRETIMEOUT; "; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want first %s", got, want)
	}
	// The device has a shorter timeout of its own.
	r = start(t, func(r *run, c *Config) {
		c.Pretimeout, r.fake.refuse[unix.WDIOC_SETTIMEOUT] = 30*time.Second, unix.EOPNOTSUPP
	})
	<-r.ended
	if want := "-pretimeout 30s: want less than the timeout, 30s: disarmed"; r.err == nil || r.err.Error() != want || !errors.As(r.err, &usage) || r.fake.armed() {
		t.Errorf("%v, want %s", r.err, want)
	}
}

// TestSupervisorAway: it is said once, and what was to be told comes later.
func TestSupervisorAway(t *testing.T) {
	supervisor := &spoken{fault: unix.ECONNREFUSED}
	r := start(t, func(r *run, c *Config) { c.Notify, c.Watch, c.Supervisor = NotifySidecar, minWatch, supervisor })
	r.await("feeding", 1)
	eventually(t, "the complaint", func() bool { return strings.Contains(r.text(), "connection refused") })
	supervisor.fail(nil)
	eventually(t, "more", func() bool { return strings.Count(supervisor.all(), feed) > 3 })
	r.stop()
	if got := r.text(); strings.Count(got, "connection refused") != 1 || slices.Contains(strings.Split(supervisor.all(), "\n"), "STOPPING=1") {
		t.Errorf("told\n%s", got)
	}
}
