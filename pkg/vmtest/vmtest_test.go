package vmtest

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestArchive compares with what cpio(1) makes of the same, but for inodes.
func TestArchive(t *testing.T) {
	var a archive
	a.parents("a/b/c")
	a.file("a/b/c", []byte("12345"))
	a.link("l", "a")
	want := "070701" + "00000001" + "000041ED" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000002" + "00000000" + "a\x00" +
		"070701" + "00000002" + "000041ED" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "a/b\x00\x00\x00" +
		"070701" + "00000003" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000006" + "00000000" + "a/b/c\x00" + "12345\x00\x00\x00" +
		"070701" + "00000004" + "0000A1FF" + "00000000" + "00000000" + "00000001" + "00000000" + "00000001" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000002" + "00000000" + "l\x00" + "a\x00\x00\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if got := string(a.bytes()); got != want {
		t.Errorf("archive\n%q, want\n%q", got, want)
	}
}

func TestKeep(t *testing.T) {
	for name, want := range map[string]bool{
		"lib/modules/6.1.0-56-amd64/kernel/drivers/watchdog/softdog.ko":     true,
		"usr/lib/modules/6.1.0-56-amd64/kernel/drivers/watchdog/softdog.ko": true,
		"lib/modules/6.1.0-56-amd64/modules.builtin":                        true,
		"lib/modules/6.1.0-56-amd64/kernel/sound/soundcore.ko":              false,
		"boot/vmlinuz-6.1.0-56-amd64":                                       true,
		"boot/System.map-6.1.0-56-amd64":                                    false,
		"bin/busybox":                                                       true,
		"lib/modules":                                                       false,
	} {
		if got := keep(name); got != want {
			t.Errorf("keep(%s) = %v", name, got)
		}
	}
}

// TestDep gives modules whose needs overlap: each comes after what it needs.
func TestDep(t *testing.T) {
	base, mid := &module{name: "base"}, &module{name: "mid"}
	mid.needs(base)
	top := &module{name: "top"}
	top.needs(base)
	top.needs(mid)
	if got, want := top.dep(), "top.ko: mid.ko base.ko\n"; got != want {
		t.Errorf("dep = %q, want %q", got, want)
	}
}

// TestModinfoOfNoModule gives it an ELF file that is none: itself.
func TestModinfoOfNoModule(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := modinfo(self); err == nil || !strings.Contains(err.Error(), "no section .modinfo") {
		t.Errorf("modinfo of a program: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text.ko")
	if err := os.WriteFile(text, []byte("no ELF file at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := modinfo(text); err == nil {
		t.Errorf("modinfo of a text: no complaint, want %T", &elf.FormatError{})
	}
}

// TestWatch is a machine that is reset once too often.
func TestWatch(t *testing.T) {
	console := "[1.68] booted\r\n[1.70] 1\r\n[    1.5] noise\r\n[1.68] booted\r\n[1.70] 2\r\n[1.68] booted\r\n[1.7"
	var r Result
	quits := 0
	if boots := r.watch(strings.NewReader(console), 3, func() { quits++ }); boots != 3 || quits != 1 {
		t.Errorf("%d boots, %d quits", boots, quits)
	}
	if r.Console != strings.ReplaceAll(console, "\r", "") {
		t.Errorf("console %q", r.Console)
	}
	lines := r.Lines()
	if len(lines) != 5 || lines[1].Text != "1" || lines[1].At != 1700*time.Millisecond {
		t.Errorf("lines %v", lines)
	}
	if !r.Has(`^\[1\.70\] 2$`) || r.Has(`^noise`) {
		t.Error("Has looks at something else than lines")
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		again  bool
		events []Event
		want   End
	}{
		{want: Lost},
		{events: []Event{{Name: "RESET", Reason: "guest-reset"}, {Name: "SHUTDOWN", Reason: "host-qmp-quit"}}, want: Lost},
		{events: []Event{{Name: "SHUTDOWN", Reason: "guest-shutdown"}}, want: Off},
		{events: []Event{{Name: "WATCHDOG", Action: "reset"}, {Name: "SHUTDOWN", Reason: "guest-reset"}}, want: Reset},
		{again: true, events: []Event{{Name: "SHUTDOWN", Reason: "host-qmp-quit"}}, want: Reset},
	} {
		r := Result{End: Lost, Events: test.events}
		if r.judge(test.again); r.End != test.want {
			t.Errorf("%v again %v: %s, want %s", test.events, test.again, r.End, test.want)
		}
	}
}

// A machine that does not end is ended by the time that it took, not by the time
// that passed.
func TestLimit(t *testing.T) {
	argv := limited(time.Second, "/bin/sh", "-c", "while :; do :; done")
	err := exec.Command(argv[0], argv[1:]...).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", err)
	}
	m := Machine{Arch: "amd64", Limit: time.Minute}
	if argv := m.command(&Kernel{}, "", ""); argv[programArg] != "qemu-system-x86_64" || argv[programArg-1] != "60" {
		t.Errorf("%q", argv[:programArg+1])
	}
}

func TestProbeOfAStranger(t *testing.T) {
	if err := Probe("vax"); err == nil || !strings.Contains(err.Error(), "vax") {
		t.Errorf("Probe(vax) = %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := Probe("amd64"); err == nil {
		t.Error("Probe without qemu: no complaint")
	}
}

func TestSlots(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var frees []func()
	for range slots {
		free, err := slot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		frees = append(frees, free)
	}
	got := make(chan error, 1)
	go func() {
		free, err := slot(t.Context())
		if err == nil {
			free()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("one slot too many: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	frees[0]()
	if err := <-got; err != nil {
		t.Error(err)
	}
	frees[1]()
}
