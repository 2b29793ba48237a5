package watchdog

import (
	"strings"
	"testing"
	"time"
)

func TestTellerCountsWhatItDrops(t *testing.T) {
	gate, got := make(chan struct{}), make(chan string, 100)
	tl := newTeller(func(e Event) { <-gate; got <- e.Text })
	for range 70 {
		tl.tell(Event{Text: "x"})
	}
	close(gate)
	tl.flush(generous)
	var lines []string
	for len(got) > 0 {
		lines = append(lines, <-got)
	}
	// One is in the hands of the reader already, or not yet.
	text := strings.Join(lines, " ")
	if !strings.Contains(text, " messages dropped: whoever reads them is too slow x") {
		t.Errorf("%d lines: %s", len(lines), text)
	}
}

func TestEventLine(t *testing.T) {
	e := Event{
		TimeMS: 1763820000123, Name: "hold", ID: "svc", By: "root", Reason: "g\x1bdb", Left: 90 * time.Second,
		Device: "/dev/watchdog", Identity: "softdog", T: time.Minute, DryRun: true, Text: "for people",
	}
	want := `{"time":"2025-11-22T14:00:00.123Z","event":"hold","id":"svc","reason":"g\\x1bdb","by":"root","device":"/dev/watchdog","identity":"softdog","left_ms":90000,"timeout_ms":60000,"dry_run":true}` + "\n"
	if got := string(e.Line()); got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
	if got, want := string((&Event{Name: "feeding"}).Line()), `{"time":"1970-01-01T00:00:00.000Z","event":"feeding"}`+"\n"; got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
}
