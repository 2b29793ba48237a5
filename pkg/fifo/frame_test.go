package fifo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// collect feeds the parts and gives what was emitted, one line each.
func collect(f *Framer, parts ...string) string {
	var got strings.Builder
	for _, part := range parts {
		f.Feed([]byte(part), func(line []byte, fault Fault) {
			if fault != Sound {
				fmt.Fprintf(&got, "fault %d\n", fault)
				return
			}
			fmt.Fprintf(&got, "%q\n", line)
		})
	}
	return got.String()
}

func TestFramer(t *testing.T) {
	long := strings.Repeat("x", MaxLine-1)
	for _, tt := range []struct {
		name    string
		parts   []string
		want    string
		pending bool
	}{
		{"one line", []string{"ping\n"}, "\"ping\"\n", false},
		{"no line feed", []string{"ping"}, "", true},
		{"in two parts", []string{"pi", "ng\n"}, "\"ping\"\n", false},
		{"two in one", []string{"ping\nstatus\n"}, "\"ping\"\n\"status\"\n", false},
		{"line feed first", []string{"\nping\n"}, "\"ping\"\n", false},
		{"after a stranger's part", []string{"garb", "\nping\n"}, "\"garb\"\n\"ping\"\n", false},
		{"empty lines", []string{"\n\n\n"}, "", false},
		{"longest", []string{long + "\n"}, fmt.Sprintf("%q\n", long), false},
		{"longest in parts", []string{long[:4000], long[4000:], "\nping\n"}, fmt.Sprintf("%q\n\"ping\"\n", long), false},
		{"too long", []string{long + "x\nping\n"}, "fault 1\n\"ping\"\n", false},
		{"too long, still coming", []string{long + "xyz"}, "fault 1\n", true},
		{"too long in parts, told once", []string{long, "x", "yyy", "zzz\nping\n"}, "fault 1\n\"ping\"\n", false},
		{"a MiB", []string{strings.Repeat("x", 1<<20), "\nping\n"}, "fault 1\n\"ping\"\n", false},
		{"NUL is a byte like others here", []string{"a\x00b\n"}, "\"a\\x00b\"\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f Framer
			if got := collect(&f, tt.parts...); got != tt.want || f.Pending() != tt.pending {
				t.Errorf("have %.100s pending %v\nwant %.100s pending %v", got, f.Pending(), tt.want, tt.pending)
			}
		})
	}
}

func TestFramerDrop(t *testing.T) {
	var f Framer
	var faults []Fault
	note := func(_ []byte, fault Fault) { faults = append(faults, fault) }
	f.Drop(note)
	collect(&f, "half a li")
	f.Drop(note)
	if got := collect(&f, "ping\n"); got != "\"ping\"\n" || f.Pending() {
		t.Errorf("after the drop: %s", got)
	}
	collect(&f, strings.Repeat("x", 2*MaxLine)) // told already
	f.Drop(note)
	if len(faults) != 1 || faults[0] != Partial || f.Pending() {
		t.Errorf("faults %v, want one Partial", faults)
	}
}

// FuzzFramer: however the bytes arrive, the lines are those of the whole text,
// without the empty and the oversize ones, and memory is bounded.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("ping\n\nstatus\n"), uint8(3))
	f.Add([]byte("a\x00\rb"), uint8(1))
	f.Add(append(bytes.Repeat([]byte("x"), 5000), "\nping\n"...), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var want [][]byte
		lines := bytes.Split(text, []byte{'\n'})
		for _, line := range lines[:len(lines)-1] {
			if len(line) > 0 && len(line) < MaxLine {
				want = append(want, line)
			}
		}
		var fr Framer
		var got [][]byte
		for rest := text; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			fr.Feed(rest[:n], func(line []byte, fault Fault) {
				if fault == Sound {
					got = append(got, bytes.Clone(line))
				}
			})
			rest = rest[n:]
			if len(fr.part) >= MaxLine {
				t.Fatalf("keeps %d bytes", len(fr.part))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("have %q\nwant %q", got, want)
		}
	})
}
