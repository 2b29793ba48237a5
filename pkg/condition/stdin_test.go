package condition

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestStdin(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := newStdinProbe(15 * time.Second)
	p.in = r
	waits := false
	p.waits = func() bool { return waits }
	c := &sim{Clock{Boot: time.Hour}}
	s := &Set{entries: []*entry{{id: "stdin", probe: p}}}
	judge := func() string { return s.Judge(c.read, nil, 0)[0].Reason }
	// reads waits until the reader has taken what was written: the clock stands still.
	reads := func(text string, done func() bool) {
		t.Helper()
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not read", text)
			}
		}
	}
	known := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.known && p.at == c.Boot
	}
	judge()
	reads("half a line", func() bool { return !readable(int(r.Fd())) })
	if have := judge(); have != "no line yet" {
		t.Errorf("half a line: %q", have)
	}
	reads(strings.Repeat("x", 10000)+"\n", known)
	c.sleep(15 * time.Second)
	if have := judge(); have != "" {
		t.Errorf("after 15 s: %q", have)
	}
	c.sleep(time.Millisecond)
	if have := judge(); have != "silent for 15s, want 15s" {
		t.Errorf("a moment later: %q", have)
	}
	waits = true // as after a stop of this very process
	if have := judge(); have != "" {
		t.Errorf("with a line to be read: %q", have)
	}
	waits = false
	reads("\n\n\n", known)
	if have := judge(); have != "" {
		t.Errorf("again: %q", have)
	}
	w.Close()
	for deadline := time.Now().Add(30 * time.Second); judge() != "standard input has ended"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q after the end", judge())
		}
	}
}

func TestReadable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := int(r.Fd())
	if readable(fd) {
		t.Error("an empty pipe is readable")
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if !readable(fd) {
		t.Error("a full one is not")
	}
	w.Close()
}

func TestParseStdin(t *testing.T) {
	for word, want := range map[string]string{
		"30s": " 30s", "web:1m30s": "web 1m30s", "30": "", "web:": "", ":30s": "", "-5s": "", "0s": "", "": "",
	} {
		id, within, err := parseStdin(word)
		if have := id + " " + within.String(); err == nil && have != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", word, have, err)
		}
	}
	if _, err := parse(t, "-stdin=30s", "-stdin=x:30s"); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("twice: %v", err)
	}
}
