package vmtest_test

import (
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// TestOff is a script that comes to its end, and an hour that takes no time.
func TestOff(t *testing.T) {
	t.Parallel()
	gate.Need(t, "vm")
	got := vmtest.Boot(t, vmtest.Machine{
		Script: "log \"$(cat /etc/some/file) $(uname -m)\"\nsleep 3600\nlog later\n" +
			"modprobe softdog soft_margin=7\nstamp </sys/class/watchdog/watchdog0/timeout\n",
		Files:   map[string][]byte{"/etc/some/file": []byte("hello")},
		Modules: []string{"softdog"},
	})
	if got.End != vmtest.Off || !got.Has(`^\[\d+\.\d\d\] script ended with 0$`) {
		t.Fatalf("end %s\n%s", got.End, got.Console)
	}
	lines := got.Lines()
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.Text)
	}
	if want := "booted|hello x86_64|later|7|script ended with 0"; strings.Join(texts, "|") != want {
		t.Errorf("logged %q, want %s", texts, want)
	}
	if slept := lines[2].At - lines[1].At; slept.Seconds() < 3600 || slept.Seconds() > 3601 {
		t.Errorf("an hour of sleep took %s of the guest's time", slept)
	}
}

// TestReset is reset by a watchdog once, and finds what it had written.
func TestReset(t *testing.T) {
	t.Parallel()
	gate.Need(t, "vm")
	got := vmtest.Boot(t, vmtest.Machine{
		Script: "echo once more >>/disk/boots\nwc -l </disk/boots | stamp\n" +
			"[ \"$(wc -l </disk/boots)\" -lt 2 ] || exit 0\nsync\nmodprobe i6300esb\nexec 3>/dev/watchdog\nforever\n",
		Modules: []string{"i6300esb"},
		Qemu:    []string{"-device", "i6300esb", "-action", "watchdog=reset"},
		Disk:    true,
		Resets:  1,
	})
	if got.End != vmtest.Off || !got.Has(`^\[\d+\.\d\d\] 2$`) {
		t.Errorf("end %s, events %v\n%s", got.End, got.Events, got.Console)
	}
	if n := got.Happened("WATCHDOG"); n != 1 {
		t.Errorf("%d resets by the watchdog, want 1: %v", n, got.Events)
	}
}

// TestArm64 runs a program of ours on another processor.
func TestArm64(t *testing.T) {
	t.Parallel()
	gate.Need(t, "vm-arm64")
	got := vmtest.Boot(t, vmtest.Machine{
		Arch:    "arm64",
		Script:  "uname -m | stamp\nmodprobe softdog\nwdping -status | stamp\n",
		Files:   map[string][]byte{"/bin/wdping": vmtest.Program(t, "arm64", "wdping")},
		Modules: []string{"softdog"},
	})
	if got.End != vmtest.Off || !got.Has(`^\[\d+\.\d\d\] aarch64$`) || !got.Has(`\] identity: Software Watchdog$`) {
		t.Errorf("end %s, events %v\n%s", got.End, got.Events, got.Console)
	}
}

// TestPanic is a kernel that ends by itself.
func TestPanic(t *testing.T) {
	t.Parallel()
	gate.Need(t, "vm")
	got := vmtest.Boot(t, vmtest.Machine{Script: "echo c >/proc/sysrq-trigger\nforever\n"})
	if got.End != vmtest.Reset || !got.Has(`Kernel panic`) || got.Happened("WATCHDOG") != 0 {
		t.Errorf("end %s, events %v\n%s", got.End, got.Events, got.Console)
	}
}
