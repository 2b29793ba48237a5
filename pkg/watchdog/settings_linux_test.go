package watchdog

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/cli"
)

func TestSetPretimeout(t *testing.T) {
	var usage *cli.UsageError
	for _, tt := range []struct {
		name    string
		prepare func(f *fake)
		want    time.Duration
		err     string
		usage   bool
	}{
		{"taken", func(*fake) {}, 10 * time.Second, "", false},
		{"made less of", func(f *fake) { f.shorten = true }, 5 * time.Second, "", false},
		{"none", func(f *fake) { f.refuse[unix.WDIOC_SETPRETIMEOUT] = unix.EOPNOTSUPP }, 0, "-pretimeout 10s: /dev/watchdog0 (Fake Watchdog) has none", true},
		{"none, an old driver", func(f *fake) { f.refuse[unix.WDIOC_SETPRETIMEOUT] = unix.ENOTTY }, 0, "-pretimeout 10s: /dev/watchdog0 (Fake Watchdog) has none", true},
		{"too long", func(f *fake) { f.timeout = 10 }, 0, "-pretimeout 10s: /dev/watchdog0 (Fake Watchdog) does not take it", true},
		{"broken", func(f *fake) { f.refuse[unix.WDIOC_SETPRETIMEOUT] = unix.EIO }, 0, "/dev/watchdog0: set pretimeout: input/output error", false},
		{"cannot be read", func(f *fake) { f.refuse[unix.WDIOC_GETPRETIMEOUT] = unix.EIO }, 0, "/dev/watchdog0: read pretimeout: input/output error", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			d, err := f.device("/dev/watchdog0")
			if err != nil {
				t.Fatal(err)
			}
			tt.prepare(f)
			got, err := d.SetPretimeout(10 * time.Second)
			if got != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) || errors.As(err, &usage) != tt.usage {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

// TestAsked: what can only be asked of an open device.
func TestAsked(t *testing.T) {
	f := newFake(t)
	d, err := f.device("/dev/watchdog0")
	if err != nil {
		t.Fatal(err)
	}
	delete(f.refuse, unix.WDIOC_GETTIMELEFT)
	f.timeleft, f.bootstatus = 17, cardReset
	if left, err := d.Timeleft(); left != 17*time.Second || err != nil {
		t.Errorf("%s, %v", left, err)
	}
	if got := d.BootStatus(); got != cardReset {
		t.Errorf("bootstatus %#x", got)
	}
	f.refuse[unix.WDIOC_GETTIMELEFT] = unix.EOPNOTSUPP
	f.refuse[unix.WDIOC_GETBOOTSTATUS] = unix.ENOTTY
	if _, err := d.Timeleft(); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(err)
	}
	if got := d.BootStatus(); got != 0 {
		t.Errorf("bootstatus %#x", got)
	}
}
