package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// A driver is a real one of the kernel, with the hardware that it drives.
type driver struct {
	name     string
	identity string // that the device gives itself
	modules  []string
	qemu     []string
	params   string
}

var (
	softdog  = driver{name: "softdog", identity: "Software Watchdog"}
	i6300esb = driver{name: "i6300esb", identity: "i6300ESB timer",
		qemu: []string{"-device", "i6300esb", "-action", "watchdog=reset"}}
	ib700 = driver{name: "ib700wdt", qemu: []string{"-device", "ib700", "-action", "watchdog=reset"}}
	iTCO  = driver{name: "iTCO_wdt", identity: "iTCO_wdt", modules: []string{"i2c_i801", "lpc_ich"},
		qemu: []string{"-M", "q35", "-global", "ICH9-LPC.noreboot=off", "-action", "watchdog=reset"}}
)

func (d driver) with(params string) driver {
	d.params = params
	return d
}

// A scenario is a script of testdata/vm on a machine with one watchdog. The
// script itself looks at what wdping says and does; what becomes of the machine
// only the test can see.
type scenario struct {
	script string
	driver driver
	vars   string // assignments for the script
	end    vmtest.End
	boots  int    // 0 is one
	stress bool   // time goes slower, there is swap, and late.sh
	panics bool   // the kernel resets the machine, not the device
	shows  string // that the console has to have
}

var scenarios = []scenario{
	{script: "calm", driver: softdog, end: vmtest.Off},
	{script: "calm", driver: i6300esb, end: vmtest.Off},
	{script: "calm", driver: iTCO, end: vmtest.Off},
	{script: "ib700", driver: ib700, end: vmtest.Reset},
	{script: "bad", driver: softdog, end: vmtest.Off},
	{script: "kill", driver: softdog, vars: "after=3.5 before=5", end: vmtest.Reset},
	{script: "kill", driver: i6300esb, vars: "after=3.5 before=5", end: vmtest.Reset},
	// It counts the timeout twice, and resets at the second end.
	{script: "kill", driver: iTCO, vars: "after=7 before=9", end: vmtest.Reset},
	{script: "quit", driver: i6300esb, end: vmtest.Reset},
	{script: "stop", driver: i6300esb, end: vmtest.Reset},
	{script: "starve", driver: i6300esb, end: vmtest.Reset},
	{script: "starveterm", driver: i6300esb, end: vmtest.Reset},
	{script: "nowayout", driver: softdog.with("nowayout=1"), end: vmtest.Reset},
	{script: "nowayout", driver: i6300esb.with("nowayout=1"), end: vmtest.Reset},
	{script: "held", driver: i6300esb, end: vmtest.Reset},
	{script: "latch", driver: i6300esb, end: vmtest.Reset},
	{script: "ledger", driver: i6300esb, vars: "card=32 sure=certain", end: vmtest.Off, boots: 3},
	{script: "ledger", driver: softdog, vars: "card=0 sure=probable", end: vmtest.Off, boots: 3},
	{script: "pretimeout", driver: i6300esb, vars: "governor=noop after=5.5 before=7", end: vmtest.Reset,
		shows: `^\[\d+\.\d\d\] .*watchdog0: pretimeout event`},
	{script: "pretimeout", driver: softdog, vars: "governor=panic after=2.5 before=4", end: vmtest.Reset, panics: true,
		shows: `Kernel panic - not syncing: watchdog pretimeout event`},
	{script: "stress", driver: softdog, end: vmtest.Off, stress: true},
}

// TestVM takes wdping through the life and the death of real machines: there is
// no other way to know that it resets them when it should, and else does not.
func TestVM(t *testing.T) {
	gate.Need(t, "vm")
	files := programs(t)
	for _, s := range scenarios {
		t.Run(s.script+"/"+s.driver.name, func(t *testing.T) {
			t.Parallel()
			s.check(t, vmtest.Boot(t, s.machine(t, files)))
		})
	}
}

func programs(t testing.TB) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"deny", "hog"} {
		files["/bin/"+name] = vmtest.Helper(t, "amd64", "testdata/"+name)
	}
	for _, name := range []string{"wdping", "hbsend", "diagfifo"} {
		files["/bin/"+name] = vmtest.Program(t, "amd64", name)
	}
	return files
}

func (s *scenario) machine(t testing.TB, files map[string][]byte) vmtest.Machine {
	m := vmtest.Machine{
		Files:   files,
		Modules: append([]string{s.driver.name, "pretimeout_noop", "pretimeout_panic"}, s.driver.modules...),
		Qemu:    s.driver.qemu,
		Disk:    s.boots > 1 || s.stress,
		Resets:  max(s.boots-1, 0),
	}
	parts := []string{"lib", s.script}
	if s.stress {
		// A slower processor has less to emulate in each second; a part of the
		// memory becomes a disk to swap to, which takes no time of the host's.
		m.Shift = 4
		m.Append = []string{"memmap=64M!160M"}
		m.Modules = append(m.Modules, "nd_pmem")
		parts = []string{"lib", "late", s.script}
	}
	m.Script = fmt.Sprintf("driver='%s' identity='%s' params='%s'\n%s\n", s.driver.name, s.driver.identity, s.driver.params, s.vars)
	for _, name := range parts {
		text, err := os.ReadFile("testdata/vm/" + name + ".sh")
		if err != nil {
			t.Fatal(err)
		}
		m.Script += string(text)
	}
	return m
}

func (s *scenario) check(t *testing.T, got *vmtest.Result) {
	bad := got.End != s.end || got.Has(`^\[\d+\.\d\d\] FAIL`) || s.end == vmtest.Off && !got.Has(`^\[\d+\.\d\d\] script ended with 0$`)
	if bad {
		t.Errorf("end %s, want %s", got.End, s.end)
	}
	if !got.Has(s.shows) {
		t.Errorf("the console does not show %s", s.shows)
	}
	for _, complaint := range overdue(got.Lines()) {
		t.Error(complaint)
	}
	// softdog resets the machine by the kernel; of the others the machine tells.
	resets := max(s.boots-1, 0)
	if s.end == vmtest.Reset {
		resets++
	}
	if s.driver.name == "softdog" || s.panics {
		resets = 0
	}
	if n := got.Happened("WATCHDOG"); n != resets {
		t.Errorf("%d resets by the watchdog, want %d: %v", n, resets, got.Events)
	}
	if t.Failed() {
		t.Logf("console:\n%s", got.Console)
	}
	t.Logf("%s of the host's time", got.Host.Round(100*time.Millisecond))
}

var due = regexp.MustCompile(`^DUE (\S+) (\S+)$`)

// overdue says which machines were reset at another time than was due: the
// last line before the next boot, or the end, is the moment.
func overdue(lines []vmtest.Line) (complaints []string) {
	var earliest, latest, last time.Duration
	judge := func() {
		if latest != 0 && (last < earliest || last > latest) {
			complaints = append(complaints, fmt.Sprintf("reset at %s, due from %s to %s", last, earliest, latest))
		}
		latest = 0
	}
	for _, l := range lines {
		if l.Text == "booted" {
			judge()
		}
		last = l.At
		if m := due.FindStringSubmatch(l.Text); m != nil {
			earliest, latest = l.At+seconds(m[1]), l.At+seconds(m[2])
		}
	}
	judge()
	return complaints
}

func seconds(text string) time.Duration {
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

func TestOverdue(t *testing.T) {
	line := func(at float64, text string) vmtest.Line {
		return vmtest.Line{At: time.Duration(at * float64(time.Second)), Text: text}
	}
	for _, test := range []struct {
		name  string
		lines []vmtest.Line
		want  string
	}{
		{"in time", []vmtest.Line{line(2, "booted"), line(5, "DUE 3.5 5"), line(9.4, "tick")}, ""},
		{"no doom", []vmtest.Line{line(2, "booted"), line(50, "alive")}, ""},
		{"early", []vmtest.Line{line(2, "booted"), line(5, "DUE 3.5 5"), line(8.4, "tick")}, "reset at 8.4s, due from 8.5s to 10s"},
		{"late", []vmtest.Line{line(2, "booted"), line(5, "DUE 3.5 5"), line(10.1, "tick")}, "reset at 10.1s, due from 8.5s to 10s"},
		{"late, before another boot", []vmtest.Line{line(5, "DUE 1 2"), line(8, "tick"), line(2, "booted")}, "reset at 8s, due from 6s to 7s"},
	} {
		if got := strings.Join(overdue(test.lines), "; "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
