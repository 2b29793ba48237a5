// Package vmtest boots a real kernel with real devices for a test.
//
// Some things cannot be tried on the machine that runs the tests: a watchdog
// that resets it, a kernel with another security module, another processor.
// Boot starts qemu with Debian's kernel, a busybox and the test's own files,
// runs the test's script in it as root, and gives back what the console showed
// and what became of the machine:
//
//	func TestReset(t *testing.T) {
//		gate.Need(t, "vm") // for amd64; "vm-arm64" for arm64
//		got := vmtest.Boot(t, vmtest.Machine{
//			Files:   map[string][]byte{"/bin/wdping": vmtest.Program(t, "amd64", "wdping")},
//			Modules: []string{"softdog"},
//			Script:  "modprobe softdog\nlog begins\nwdping -exists x:/ & sleep 9; kill -9 $!; forever",
//		})
//		if got.End != vmtest.Reset || !got.Has(`begins`) { ... }
//	}
//
// Time in the guest goes by instructions (qemu's -icount), and idle time is
// skipped: an hour of sleep takes a moment, and no result depends on how fast
// or busy the host is. A boot takes three seconds, more on a busy host; at most
// two machines of a user run at a time.
//
// The kernel, its modules and busybox are Debian packages that Fetch gets with
// apt-get, without installing them, into vigil/vm of the user's cache directory;
// they stay there. Neither root nor KVM is needed, nor a network the next time.
//
// The package is for tests only; no program imports it.
package vmtest

import (
	"context"
	"crypto/rand"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "embed"
)

// Machine is what to boot.
type Machine struct {
	// Arch is "amd64", also if it is empty, or "arm64".
	Arch string
	// Script is what busybox sh runs in /t, as root. The functions that it may
	// use are in init.sh. When it ends, the machine is powered off.
	Script string
	// Files are put into the guest by their absolute paths, with mode 0755.
	Files map[string][]byte
	// Modules name kernel modules that modprobe is to find, with all they depend on.
	Modules []string
	// Qemu are more arguments, as for a device.
	Qemu []string
	// Append are more words for the kernel's command line.
	Append []string
	// Memory is in MB; 0 is 256.
	Memory int
	// Shift sets how fast the processor is: an instruction takes 2^Shift ns of
	// the guest's time. A guest that works a lot wants 3 or 4.
	Shift int
	// Disk wants a file system under /disk that is there again after a reset. It is
	// a part of the memory that the kernel leaves alone: the time that a disk of
	// the host takes would be anything in the guest's time. For amd64 only, with
	// the Memory that is the default, or more.
	Disk bool
	// Resets is how many resets the machine may live through before one ends it.
	Resets int
	// Limit bounds the processor time that qemu takes, whatever else the host does
	// meanwhile; 0 is five minutes. One that only waits is ended after three times
	// that.
	Limit time.Duration
}

// An End is what became of a machine.
type End string

// Off is a script that came to its end, Reset a machine that was reset once
// more than Machine.Resets allows. Lost is neither: qemu ended by itself.
const (
	Off   End = "off"
	Reset End = "reset"
	Lost  End = "lost"
)

// Result is what a machine has left.
type Result struct {
	End     End
	Console string  // what the guest's serial console showed, lines end by \n
	Events  []Event // what qemu says happened to it
	Host    time.Duration
}

// Has tells whether a line of the console matches the regular expression.
func (r *Result) Has(pattern string) bool {
	return regexp.MustCompile("(?m)" + pattern).MatchString(r.Console)
}

// Happened counts the events of a name, as WATCHDOG or RESET.
func (r *Result) Happened(name string) (n int) {
	for _, e := range r.Events {
		if e.Name == name {
			n++
		}
	}
	return n
}

var stamp = regexp.MustCompile(`(?m)^\[(\d+)\.(\d\d)\] (.*)$`)

// A Line was logged at a time since the guest was booted, 10 ms exact.
type Line struct {
	At   time.Duration
	Text string
}

// Lines gives what the script has logged by log or stamp of init.sh.
func (r *Result) Lines() (lines []Line) {
	for _, m := range stamp.FindAllStringSubmatch(r.Console, -1) {
		s, _ := strconv.Atoi(m[1])
		cs, _ := strconv.Atoi(m[2])
		lines = append(lines, Line{time.Duration(s)*time.Second + time.Duration(cs)*10*time.Millisecond, m[3]})
	}
	return lines
}

//go:embed init.sh
var initScript []byte

// Boot runs a machine to its end. It ends the test if there can be no machine,
// or none that ends within the limit; how it ended otherwise is for the caller
// to judge. Several goroutines may boot at the same time.
func Boot(t testing.TB, m Machine) *Result {
	t.Helper()
	if m.Arch == "" {
		m.Arch = "amd64"
	}
	if m.Memory == 0 {
		m.Memory = 256
	}
	if m.Limit == 0 {
		m.Limit = 5 * time.Minute
	}
	k, err := Fetch(m.Arch)
	if err != nil {
		t.Fatal(err)
	}
	token := rand.Text()
	dir := t.TempDir()
	initrd := filepath.Join(dir, "initrd")
	if err := m.pack(k, token, initrd); err != nil {
		t.Fatal(err)
	}
	free, err := slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	ctx, cancel := context.WithTimeout(t.Context(), 3*m.Limit)
	defer cancel()
	r, err := run(ctx, m.command(k, initrd, token), m.Resets)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Console)
	}
	return r
}

// pack writes the initial file system. It is not compressed: unpacking would be
// the longest part of the boot.
func (m *Machine) pack(k *Kernel, token, name string) error {
	names := slices.Clone(m.Modules)
	if m.Disk {
		names = append(names, diskModules...)
	}
	modules, err := k.closure(names)
	if err != nil {
		return err
	}
	var a archive
	for _, dir := range []string{"bin", "dev", "disk", "etc", "mod", "proc", "run", "sys", "t", "tmp", "lib", "lib/modules", "lib/modules/" + k.Release} {
		a.dir(dir)
	}
	busybox, err := os.ReadFile(k.Busybox)
	if err != nil {
		return err
	}
	a.file("bin/busybox", busybox)
	a.link("bin/sh", "busybox")
	a.file("init", initScript)
	a.file("t/token", []byte(token+"\n"))
	a.file("t/script", []byte(m.Script))
	var dep strings.Builder
	for _, mod := range modules {
		text, err := os.ReadFile(mod.path)
		if err != nil {
			return err
		}
		a.file("lib/modules/"+k.Release+"/"+mod.name+".ko", text)
		dep.WriteString(mod.dep())
	}
	a.file("lib/modules/"+k.Release+"/modules.dep", []byte(dep.String()))
	for _, path := range slices.Sorted(maps.Keys(m.Files)) {
		a.parents(strings.TrimPrefix(path, "/"))
		a.file(strings.TrimPrefix(path, "/"), m.Files[path])
	}
	return os.WriteFile(name, a.bytes(), 0o600)
}
