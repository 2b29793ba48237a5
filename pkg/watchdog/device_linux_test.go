package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/cli"
)

func TestDevice(t *testing.T) {
	for _, tt := range []struct{ path, open string }{
		{DefaultPath, "open /dev/watchdog"}, // its identity is mdlayher's business
		{"/dev/watchdog1", "open /dev/watchdog1; GETSUPPORT"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			f := newFake(t)
			d, err := f.device(tt.path)
			if err != nil || d.Identity != "Fake Watchdog" || !f.armed() {
				t.Fatalf("open: %+v, %v", d, err)
			}
			if got := f.said(); got != tt.open {
				t.Errorf("open: %q, want %q", got, tt.open)
			}
			if real, err := d.SetTimeout(time.Minute); err != nil || real != time.Minute {
				t.Errorf("set timeout: %s, %v", real, err)
			}
			if err := d.Ping(); err != nil {
				t.Error(err)
			}
			if got, want := f.said(), "SETTIMEOUT 60; GETTIMEOUT; KEEPALIVE"; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if outcome, text := d.Disarm(); outcome != Disarmed || text != "disarmed" || f.armed() {
				t.Errorf("disarm: %d, %q", outcome, text)
			}
			if got, want := f.said(), "write V; close"; got != want {
				t.Errorf("disarm: %q, want %q", got, want)
			}
		})
	}
}

func TestDisarmTellsTheTruth(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(f *fake)
		outcome Outcome
		text    string
		calls   string
	}{
		{"nowayout", func(f *fake) { f.nowayout = true }, Armed, "STILL ARMED (nowayout)", "write V; close"},
		{"no sysfs", func(f *fake) { f.sysfs = "" }, Unknown, "unknown (the driver took DISABLECARD, but nothing can be read back)", "SETOPTIONS 1; write V; close"},
		{"no sysfs, no DISABLECARD", func(f *fake) { f.sysfs = ""; f.refuse[unix.WDIOC_SETOPTIONS] = unix.ENOTTY }, Unknown, "unknown (nothing can be read back)", "SETOPTIONS 1; write V; close"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			tt.prepare(f)
			d, err := f.device(DefaultPath)
			if err != nil {
				t.Fatal(err)
			}
			f.said()
			if outcome, text := d.Disarm(); outcome != tt.outcome || text != tt.text {
				t.Errorf("%d, %q; want %d, %q", outcome, text, tt.outcome, tt.text)
			}
			if got := f.said(); got != tt.calls {
				t.Errorf("%q, want %q", got, tt.calls)
			}
		})
	}
}

// TestDriverKeepsRunning: the magic close was taken, but the state says no.
func TestDriverKeepsRunning(t *testing.T) {
	f := newFake(t)
	d, err := f.device(DefaultPath)
	if err != nil {
		t.Fatal(err)
	}
	f.nowayout = true // in the driver, unseen in sysfs
	stale := d.Info
	stale.sysfs = t.TempDir()
	if err := os.WriteFile(stale.sysfs+"/state", []byte("active\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Info = stale
	if outcome, text := d.Disarm(); outcome != Armed || text != "STILL ARMED" {
		t.Errorf("%d, %q", outcome, text)
	}
}

func TestOpenRefusedLeavesNothingArmed(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		prepare    func(f *fake)
		cause      error
		calls      string
	}{
		{"identity denied, mdlayher", DefaultPath, func(f *fake) { f.refuse[unix.WDIOC_GETSUPPORT] = unix.EPERM }, fs.ErrPermission, "open /dev/watchdog; defuse 7; write V; close"},
		{"identity denied", "/dev/watchdog0", func(f *fake) { f.refuse[unix.WDIOC_GETSUPPORT] = unix.ENOTTY }, unix.ENOTTY, "open /dev/watchdog0; GETSUPPORT; write V; close"},
		{"replaced, mdlayher", DefaultPath, func(f *fake) { f.wrong = true }, errReplaced, "open /dev/watchdog; write V; close"},
		{"replaced", "/dev/watchdog0", func(f *fake) { f.wrong = true }, errReplaced, "open /dev/watchdog0; write V; close"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			tt.prepare(f)
			_, err := f.device(tt.path)
			if !errors.Is(err, tt.cause) {
				t.Errorf("%v, want %v", err, tt.cause)
			}
			if got := f.said(); got != tt.calls {
				t.Errorf("%q, want %q", got, tt.calls)
			}
			if f.armed() || len(f.open) != 0 {
				t.Errorf("armed %t, open %v", f.armed(), f.open)
			}
		})
	}
}

// TestInheritedDescriptorIsLeftAlone: somebody else's descriptor of a busy
// device, inherited, is not ours to disarm.
func TestInheritedDescriptorIsLeftAlone(t *testing.T) {
	f := newFake(t)
	f.open[3], f.active = false, true
	_, err := f.device(DefaultPath)
	if want := "/dev/watchdog: open: device or resource busy"; !errors.Is(err, unix.EBUSY) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if got := f.said(); got != "open /dev/watchdog" || !f.armed() {
		t.Errorf("%q, armed %t", got, f.armed())
	}
}

func TestSetTimeout(t *testing.T) {
	var usage *cli.UsageError
	for _, tt := range []struct {
		name    string
		prepare func(f *fake)
		want    time.Duration
		fails   bool
		usage   bool
	}{
		{"rounded", func(f *fake) { f.round = func(s int32) int32 { return s / 16 * 16 } }, 48 * time.Second, false, false},
		{"fixed", func(f *fake) { f.refuse[unix.WDIOC_SETTIMEOUT] = unix.ENOTTY }, 30 * time.Second, false, false},
		{"fixed, in the core's words", func(f *fake) { f.refuse[unix.WDIOC_SETTIMEOUT] = unix.EOPNOTSUPP }, 30 * time.Second, false, false},
		{"not taken", func(f *fake) { f.refuse[unix.WDIOC_SETTIMEOUT] = unix.EINVAL }, 0, true, true},
		{"broken", func(f *fake) { f.refuse[unix.WDIOC_SETTIMEOUT] = unix.EIO }, 0, true, false},
		{"cannot be read", func(f *fake) { f.refuse[unix.WDIOC_GETTIMEOUT] = unix.EOPNOTSUPP }, 0, true, false},
		{"nonsense", func(f *fake) { f.round = func(int32) int32 { return 0 } }, 0, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			d, err := f.device("/dev/watchdog0")
			if err != nil {
				t.Fatal(err)
			}
			tt.prepare(f)
			got, err := d.SetTimeout(time.Minute)
			if got != tt.want || (err != nil) != tt.fails || errors.As(err, &usage) != tt.usage {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

// TestForeignSysfs: an old driver owns /dev/watchdog, and sysfs speaks of
// another device, which must not vouch for it.
func TestForeignSysfs(t *testing.T) {
	f := newFake(t)
	info := f.info(DefaultPath)
	f.identity = "Old Watchdog"
	d, err := f.kernel().openDevice(info)
	if err != nil {
		t.Fatal(err)
	}
	if outcome, _ := d.Disarm(); outcome != Unknown {
		t.Errorf("outcome %d, want unknown", outcome)
	}
}

// TestDefuse writes to a real character device that shows what it got: the
// slave of a pseudo terminal. An os.File that lost its owner has opened it.
func TestDefuse(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	slave, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	num, err := nodeNumber(path)
	if err != nil {
		t.Fatal(err)
	}
	fd := system.find(num, -1)
	if fd != int(slave.Fd()) {
		t.Fatalf("found descriptor %d, want %d", fd, slave.Fd())
	}
	if again := system.find(num, fd); again != -1 {
		t.Errorf("found a second descriptor, %d", again)
	}
	system.defuse(fd)
	if left := system.find(num, -1); left != -1 {
		t.Errorf("descriptor %d still is the device", left)
	}
	b := make([]byte, 16)
	if n, err := master.Read(b); string(b[:n]) != "V" {
		t.Errorf("the device got %q, %v", b[:n], err)
	}
	// The owner that lost it may now close its number: it closes /dev/null.
	if n, _ := nodeNumber(fmt.Sprintf("/proc/self/fd/%d", fd)); n != (number{1, 3}) {
		t.Errorf("descriptor %d is device %s, want /dev/null", fd, n)
	}
}
