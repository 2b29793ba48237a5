//go:build soak

package soak

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

var (
	seed     = flag.Uint64("seed", 0, "what is done when; 0: another one each time")
	length   = flag.Duration("length", 10*time.Minute, "of the guest's time")
	services = flag.Int("services", 200, "how many")
	keep     = flag.String("truth", "", "where the truth is kept")
)

// TestSoak takes a machine with 200 services through ten minutes of faults, and
// has the checker compare what was done with what vigil said. It is a step of
// scripts/test of its own, by the tag soak.
func TestSoak(t *testing.T) {
	gate.Need(t, "vm")
	if *seed == 0 {
		*seed = rand.Uint64N(1e6) + 1
	}
	fmt.Printf("seed %d\n", *seed)
	got := vmtest.Boot(t, machine(t))
	fmt.Printf("host_s %d\n", int(got.Host.Seconds()))
	text, err := unpack(got.Console)
	if err != nil || len(text) == 0 {
		t.Fatalf("no truth came: %v\nend %s\n%s", err, got.End, tail(got.Console))
	}
	name := *keep
	if name == "" {
		name = filepath.Join(t.TempDir(), "truth")
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	said, code := judge(t, name)
	fmt.Print(said)
	if code != 0 {
		t.Errorf("the checker has findings")
	}
	if got.End != vmtest.Off || !got.Has(`script ended with 0$`) || got.Has(`FAIL`) {
		t.Errorf("end %s", got.End)
	}
	resets(t, got)
	if t.Failed() {
		t.Logf("console:\n%s", tail(got.Console))
	}
}

// resets looks at the last two acts: wdping is killed, and the watchdog resets
// the machine; its feed stops, and it does that again. The next boot has to know
// either.
func resets(t *testing.T, got *vmtest.Result) {
	t.Helper()
	if n := got.Happened("WATCHDOG"); n != 2 {
		t.Errorf("%d resets by the watchdog, want 2: %v", n, got.Events)
	}
	var story []string
	for _, l := range got.Lines() {
		if m := milestone.FindString(l.Text); m != "" {
			story = append(story, m)
		}
	}
	const want = "booted|over|wdping is killed|booted|after wdping was killed|last reset: watchdog (certain)|hbwatch is stopped|booted|" +
		"after hbwatch was stopped|last reset: watchdog (certain), starved of feed: silent for"
	if got := strings.Join(story, "|"); got != want {
		t.Errorf("the machine tells\n%s\nwant\n%s", got, want)
	}
}

var milestone = regexp.MustCompile(`^(booted|over|wdping is killed|after .*|hbwatch is stopped|last reset: watchdog \(certain\)(, starved of feed: silent for)?)`)

func machine(t *testing.T) vmtest.Machine {
	files := map[string][]byte{"/bin/chaos": vmtest.Helper(t, "amd64", "testdata/chaos")}
	for _, name := range []string{"hbsend", "hbwatch", "wdping", "diagfifo", "corecap"} {
		files["/bin/"+name] = vmtest.Program(t, "amd64", name)
	}
	for to, from := range map[string]string{
		"/bin/on-change": "testdata/on-change", "/bin/vigil-incident": "../../../scripts/vigil-incident", "/bin/vigil.sh": "../../../scripts/vigil.sh",
	} {
		files[to] = read(t, from)
	}
	files["/etc/vigil/corecap"] = []byte("spool /spool/core\nkeep-free 1M\n")
	return vmtest.Machine{
		Script: fmt.Sprintf("seed=%d length=%s services=%d\n%s", *seed, *length, *services, read(t, "testdata/init.sh")),
		Files:  files,
		// 200 senders, and a disk that is a part of the memory.
		Memory:  2048,
		Append:  []string{"memmap=96M!512M"},
		Modules: []string{"i6300esb", "ext4", "libcrc32c", "crc32c_generic"},
		Qemu:    []string{"-device", "i6300esb", "-action", "watchdog=reset"},
		Shift:   2,
		Disk:    true,
		Resets:  2,
		Limit:   40 * time.Minute,
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack gives the truth from the lines of the console.
func unpack(console string) ([]byte, error) {
	var packed strings.Builder
	for line := range strings.Lines(console) {
		if text, ok := strings.CutPrefix(line, "TRUTH "); ok {
			packed.WriteString(strings.TrimSpace(text))
		}
	}
	b, err := base64.StdEncoding.DecodeString(packed.String())
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zip)
}

// tail leaves out the truth and what ticks.
func tail(console string) string {
	var kept []string
	for line := range strings.Lines(console) {
		if !strings.HasPrefix(line, "TRUTH ") && !strings.HasSuffix(line, "] tick\n") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-200):], "")
}
