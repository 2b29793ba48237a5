package watchdog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/condition"
	"vigil/pkg/flag"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// run is a Run going on with a fake device and one condition, -exists flag.
type run struct {
	t       *testing.T
	fake    *fake
	flag    string
	done    chan struct{}
	outcome Outcome
	err     error
	ended   chan struct{}
	ledger  *Ledger

	mu     sync.Mutex
	events []Event
}

// config has an interval so short that tests are quick, and a timeout so long
// that no verdict expires on a slow machine.
func config(t *testing.T, f *fake, file string) Config {
	t.Helper()
	var conditions condition.Set
	c := Config{
		Device: DefaultPath, Timeout: time.Minute, Interval: minInterval, Grace: time.Hour, Conditions: &conditions,
		open: func(node string) (*Device, error) { return f.device(node) },
	}
	flags := new(flag.FlagSet)
	conditions.Flags(flags)
	if err := flags.Parse([]string{"-exists", "svc:" + file}); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts a Run whose condition holds, unless prepare removes the flag.
func start(t *testing.T, prepare func(r *run, c *Config)) *run {
	t.Helper()
	r := &run{t: t, fake: newFake(t), flag: filepath.Join(t.TempDir(), "flag"), done: make(chan struct{}), ended: make(chan struct{})}
	c := config(t, r.fake, r.flag)
	c.Out = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	r.set(true)
	if prepare != nil {
		prepare(r, &c)
	}
	r.ledger = c.Ledger
	go func() {
		defer close(r.ended)
		r.outcome, r.err = Run(r.done, c)
	}()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *run) set(there bool) {
	r.t.Helper()
	var err error
	if there {
		err = os.WriteFile(r.flag, nil, 0o600)
	} else {
		err = os.Remove(r.flag)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) told(name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Name == name {
			n++
		}
	}
	return n
}

func (r *run) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.events {
		b.WriteString(e.Name + ": " + e.Text + "\n")
	}
	return b.String()
}

func (r *run) await(name string, n int) {
	r.t.Helper()
	eventually(r.t, name, func() bool { return r.told(name) >= n })
}

// moreLooks waits until the pinging thread has gone round a few times.
func (r *run) moreLooks() {
	r.t.Helper()
	before := boottime.Now()
	eventually(r.t, "time passes", func() bool { return boottime.Now() > before+10*minInterval })
}

func (r *run) stop() (Outcome, error) {
	select {
	case <-r.done:
	default:
		close(r.done)
	}
	select {
	case <-r.ended:
	case <-time.After(generous):
		r.t.Fatal("run does not end")
	}
	return r.outcome, r.err
}

func TestRun(t *testing.T) {
	r := start(t, nil)
	eventually(t, "pings", func() bool { return r.fake.count("KEEPALIVE") >= 3 })
	if outcome, err := r.stop(); outcome != Disarmed || err != nil {
		t.Errorf("%d, %v", outcome, err)
	}
	calls := r.fake.said()
	if !strings.HasPrefix(calls, "open /dev/watchdog; SETTIMEOUT 60; GETTIMEOUT; GETPRETIMEOUT; KEEPALIVE; ") || !strings.HasSuffix(calls, "; write V; close") {
		t.Error(calls)
	}
	want := "armed: /dev/watchdog: armed: Fake Watchdog, timeout 1m0s\nfeeding: feeding: all conditions hold\ndisarmed: /dev/watchdog: disarmed\n"
	if got := r.text(); got != want {
		t.Errorf("told\n%swant\n%s", got, want)
	}
}

func TestNotOpenedBeforeAllHold(t *testing.T) {
	r := start(t, func(r *run, c *Config) { r.set(false); c.Grace = 50 * time.Millisecond })
	r.await("starving", 1)
	if calls := r.fake.said(); calls != "" {
		t.Errorf("device touched: %s", calls)
	}
	r.set(true)
	r.await("feeding", 1)
	r.await("armed", 1)
	r.set(false)
	r.await("starving", 2)
	r.set(true)
	r.await("feeding", 2)
	if n := r.told("armed"); n != 1 {
		t.Errorf("armed %d times", n)
	}
}

func TestEndBeforeArmed(t *testing.T) {
	r := start(t, func(r *run, c *Config) { r.set(false) })
	r.await("waiting", 1)
	if outcome, err := r.stop(); outcome != Disarmed || err != nil || r.fake.said() != "" {
		t.Errorf("%d, %v", outcome, err)
	}
}

func TestStarving(t *testing.T) {
	r := start(t, nil)
	eventually(t, "a ping", func() bool { return r.fake.count("KEEPALIVE") > 0 })
	r.set(false)
	r.await("starving", 1)
	before := r.fake.count("KEEPALIVE")
	r.moreLooks()
	if n := r.fake.count("KEEPALIVE"); n != before {
		t.Errorf("%d pings while starving", n-before)
	}
	if outcome, err := r.stop(); outcome != Armed || err != nil || !r.fake.armed() || r.fake.count("write V") != 0 {
		t.Errorf("%d, %v, armed %t", outcome, err, r.fake.armed())
	}
	if got, want := r.text(), "left_armed: /dev/watchdog: left armed: starving: svc: missing; resets within 1m0s\n"; !strings.HasSuffix(got, want) {
		t.Errorf("told\n%swant at its end\n%s", got, want)
	}
}

func TestStay(t *testing.T) {
	r := start(t, func(_ *run, c *Config) { c.Stay = true })
	eventually(t, "a ping", func() bool { return r.fake.count("KEEPALIVE") > 0 })
	if outcome, err := r.stop(); outcome != Armed || err != nil || r.fake.count("write V") != 0 {
		t.Errorf("%d, %v", outcome, err)
	}
}

func TestDryRun(t *testing.T) {
	r := start(t, func(_ *run, c *Config) { c.DryRun = true })
	r.await("feeding", 1)
	r.set(false)
	r.await("starving", 1)
	if outcome, err := r.stop(); outcome != Disarmed || err != nil || r.fake.said() != "" {
		t.Errorf("%d, %v", outcome, err)
	}
	if got, want := r.text(), "feeding: would ping: all conditions hold\nstarving: would starve: svc: missing\n"; got != want {
		t.Errorf("told\n%swant\n%s", got, want)
	}
}

// TestRefusedOnceOpen: what turns out only with the device open disarms it.
func TestRefusedOnceOpen(t *testing.T) {
	var usage *cli.UsageError
	for _, tt := range []struct {
		name    string
		prepare func(r *run, c *Config)
		usage   bool
		want    string
	}{
		{"interval", func(r *run, c *Config) {
			c.Interval = 15 * time.Second
			r.fake.round = func(int32) int32 { return 40 }
		}, true, "-interval 15s: want at most a third of the timeout, 13.333333333s: disarmed"},
		{"timeout", func(r *run, _ *Config) { r.fake.refuse[unix.WDIOC_SETTIMEOUT] = unix.EINVAL }, true, "-timeout 1m0s: /dev/watchdog (Fake Watchdog) does not take it: disarmed"},
		{"broken", func(r *run, _ *Config) { r.fake.refuse[unix.WDIOC_SETTIMEOUT] = unix.EIO }, false, "/dev/watchdog: set timeout: input/output error: disarmed"},
		{"busy", func(r *run, _ *Config) { r.fake.open[3] = false }, false, "/dev/watchdog: open: device or resource busy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.prepare)
			select {
			case <-r.ended:
			case <-time.After(generous):
				t.Fatal("run does not end")
			}
			if r.err == nil || r.err.Error() != tt.want || errors.As(r.err, &usage) != tt.usage || r.fake.armed() {
				t.Errorf("%v, want %s; armed %t", r.err, tt.want, r.fake.armed())
			}
		})
	}
}

// TestOtherTimeout: the device keeps a timeout of its own, and the pace follows.
func TestOtherTimeout(t *testing.T) {
	r := start(t, func(r *run, _ *Config) { r.fake.refuse[unix.WDIOC_SETTIMEOUT] = unix.EOPNOTSUPP })
	r.await("feeding", 1)
	if got, want := r.text(), "armed: Fake Watchdog, timeout 30s (asked for 1m0s)\n"; !strings.Contains(got, want) {
		t.Errorf("told\n%swant\n%s", got, want)
	}
}

func TestPingFails(t *testing.T) {
	r := start(t, nil)
	r.await("armed", 1)
	r.fake.fail(unix.WDIOC_KEEPALIVE, unix.EIO)
	before := r.fake.count("KEEPALIVE")
	eventually(t, "more tries", func() bool { return r.fake.count("KEEPALIVE") > before+3 })
	if got := r.text(); strings.Count(got, "ping: input/output error") != 1 {
		t.Errorf("told\n%s", got)
	}
	r.fake.fail(unix.WDIOC_KEEPALIVE, unix.ENODEV)
	select {
	case <-r.ended:
	case <-time.After(generous):
		t.Fatal("run does not end")
	}
	if r.outcome != Unknown || r.err == nil || r.err.Error() != "/dev/watchdog: device is gone" {
		t.Errorf("%d, %v", r.outcome, r.err)
	}
}

// hanging is a set of conditions on a file system that hangs at some look.
type hanging struct {
	Conditions
	looks atomic.Int64
	until chan struct{}
}

func (h *hanging) Judge(clock func() condition.Clock, holder condition.Holder, grace time.Duration) []condition.Verdict {
	if h.looks.Add(1) > 3 {
		<-h.until
	}
	return h.Conditions.Judge(clock, holder, grace)
}

// TestHungLook: a look that never returns stops the pings, and the end of the
// run does not wait for it.
func TestHungLook(t *testing.T) {
	until := make(chan struct{})
	t.Cleanup(func() { close(until) })
	h := &hanging{until: until}
	r := start(t, func(_ *run, c *Config) {
		c.Timeout = 8 * time.Second // verdicts expire after 2 s
		h.Conditions, c.Conditions = c.Conditions, h
	})
	eventually(t, "a look that hangs", func() bool { return h.looks.Load() > 3 })
	eventually(t, "starving", func() bool {
		lines := strings.Split(strings.TrimSpace(r.text()), "\n")
		return strings.HasPrefix(lines[len(lines)-1], "starving: starving: conditions not judged for ")
	})
	before := r.fake.count("KEEPALIVE")
	r.moreLooks()
	if n := r.fake.count("KEEPALIVE"); n != before {
		t.Errorf("%d pings on an expired verdict", n-before)
	}
	if outcome, err := r.stop(); outcome != Armed || err != nil {
		t.Errorf("%d, %v", outcome, err)
	}
}

// TestDeafReader: nobody reads what is told. Pings go on, and the end comes.
func TestDeafReader(t *testing.T) {
	deaf := make(chan struct{})
	t.Cleanup(func() { close(deaf) })
	r := start(t, func(_ *run, c *Config) { c.Out = func(Event) { <-deaf } })
	eventually(t, "a ping", func() bool { return r.fake.count("KEEPALIVE") > 0 })
	before := r.fake.count("KEEPALIVE")
	eventually(t, "more pings", func() bool { return r.fake.count("KEEPALIVE") > before+10 })
	if outcome, err := r.stop(); outcome != Disarmed || err != nil || r.fake.armed() {
		t.Errorf("%d, %v", outcome, err)
	}
}

func TestHold(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	reader, err := hold.NewReader(dir, "wdping", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// The reader is the run's from now on, also behind its end.
	r := start(t, func(_ *run, c *Config) { c.Holds = reader })
	r.await("feeding", 1)
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	lease, err := hold.Take(d, "svc", "root", "gdb", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.await("held", 1)
	if missing := hold.Missing(d, "svc", lease.Nonce, []string{"wdping"}); len(missing) != 0 {
		t.Errorf("not acknowledged by %q", missing)
	}
	r.set(false)
	before := r.fake.count("KEEPALIVE")
	eventually(t, "pings while held", func() bool { return r.fake.count("KEEPALIVE") > before+3 })
	if n := r.told("starving"); n != 0 {
		t.Error("starving while held")
	}
	if _, err := hold.Take(d, "other", "root", "of no concern here", time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Release(d, "svc", lease.Nonce, false); err != nil {
		t.Fatal(err)
	}
	r.await("starving", 1)
	if r.told("hold") != 1 || r.told("hold_end") != 1 || strings.Contains(r.text(), "other") {
		t.Errorf("told\n%s", r.text())
	}
}
