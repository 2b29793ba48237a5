package watchdog

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const (
	bootA = "0123456789abcdef0123456789abcdef"
	bootB = "fedcba9876543210fedcba9876543210"
	bootC = "00000000000000000000000000000001"
)

func TestEntry(t *testing.T) {
	e := Entry{
		TimeMS: 1763820000123, Boot: bootA, At: 90 * time.Second, Mark: Starving, Device: "/dev/watch\x1bdog",
		Timeout: time.Minute, ID: "svc-A", Reason: "silent for 31s, want 30s" + strings.Repeat("!", maxReason),
	}
	line := e.append([]byte("before "))
	want := `before {"v":1,"event":"starving","time":"2025-11-22T14:00:00.123Z","time_ms":1763820000123,"boot":"` + bootA +
		`","bt_ms":90000,"device":"/dev/watch\\x1bdog","timeout_ms":60000,"id":"svc-A","reason":"silent for 31s, want 30s` +
		strings.Repeat("!", maxReason-24) + "\"}\n"
	if string(line) != want {
		t.Fatalf("have %swant %s", line, want)
	}
	got, err := parseEntry(line[len("before "):])
	e.Device, e.Reason = `/dev/watch\x1bdog`, e.Reason[:maxReason]
	if err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	start := Entry{Boot: bootB, Mark: Started, Reset: Probable}
	if got, err := parseEntry(start.append(nil)); err != nil || got != start {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseEntryRefuses(t *testing.T) {
	good := `{"v":1,"event":"armed","time_ms":1,"boot":"` + bootA + `","bt_ms":1,"later":"x"}`
	if _, err := parseEntry([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"v":1`, `"v":2`}, {`"armed"`, `"robbed"`}, {`"armed"`, `""`}, {`"event":"armed",`, ""}, {bootA, bootA[1:]}, {bootA, "G" + bootA[1:]},
		{`"bt_ms":1`, `"bt_ms":-1`}, {`"time_ms":1`, `"time_ms":-1`}, {`"bt_ms":1`, `"bt_ms":9223372036854775807`}, {`"later":"x"`, `"id":".x"`},
		{`"later":"x"`, `"reset":"perhaps"`}, {`"later":"x"`, `"v":1`}, {"}", ""}, {good, ""},
	} {
		if e, err := parseEntry([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s instead of %s: %+v", change[1], change[0], e)
		}
	}
}

func TestParseLedger(t *testing.T) {
	line := func(m Mark) string { return string((&Entry{Boot: bootA, Mark: m}).append(nil)) }
	text := line(Started) + "\x00\x00\n" + "\n" + line(ArmedNow) + strings.TrimSuffix(line(Starving), "}\n") + "\n" + line(Starving) + strings.TrimSuffix(line(Safe), "\n")
	entries, bad := parseLedger([]byte(text))
	if len(entries) != 3 || entries[2].Mark != Starving || bad != 2 {
		t.Errorf("%d bad lines, %+v", bad, entries)
	}
}

func TestNewest(t *testing.T) {
	for _, tt := range []struct {
		text string
		keep int
		want string
	}{
		{"", 0, ""}, {"a\nb\n", 4, "a\nb\n"}, {"a\nb\n", 3, "b\n"}, {"a\nb\n", 2, "b\n"}, {"a\nb\n", 1, ""}, {"aaaa", 2, "aa"}, {"a\nbbb", 4, "bbb"},
	} {
		if got := string(newest([]byte(tt.text), tt.keep)); got != tt.want {
			t.Errorf("%q, %d: %q, want %q", tt.text, tt.keep, got, tt.want)
		}
	}
}

func TestJoin(t *testing.T) {
	armed := func(m Mark, id, reason string) Entry {
		return Entry{Boot: bootA, Mark: m, Timeout: time.Minute, ID: id, Reason: reason}
	}
	starving := armed(Starving, "app", "silent for 5s")
	ceased := ", pings ceased while all was well"
	for _, tt := range []struct {
		name          string
		last          []Entry
		card, reports bool
		want          string
	}{
		{"nothing at all", nil, false, false, "not by the watchdog"},
		{"no ledger", nil, true, false, "watchdog (certain), the ledger knows of no boot before"},
		{"only this boot", []Entry{{Boot: bootB, Mark: Starving, Timeout: time.Minute}}, false, false, "not by the watchdog"},
		{"starved, and told", []Entry{starving}, true, true, "watchdog (certain), starved of app: silent for 5s"},
		{"starved, and the driver cannot tell", []Entry{starving}, false, false, "watchdog (probable), starved of app: silent for 5s"},
		{"starved, and the driver would know", []Entry{starving}, false, true, "not by the watchdog"},
		{"not judged", []Entry{armed(Starving, "", "conditions not judged for 5s")}, true, true, "watchdog (certain), starved: conditions not judged for 5s"},
		{"recovered, then killed", []Entry{starving, armed(Recovered, "", "")}, true, true, "watchdog (certain)" + ceased},
		{"killed, and the driver cannot tell", []Entry{armed(ArmedNow, "", "")}, false, false, "watchdog (probable)" + ceased},
		{"starved without a device", []Entry{{Boot: bootA, Mark: Starving, ID: "app"}}, false, false, "not by the watchdog"},
		{"disarmed", []Entry{starving, armed(Safe, "", "")}, false, false, "not by the watchdog"},
		{"disarmed, but somebody's watchdog did", []Entry{armed(Safe, "", "")}, true, false, "watchdog (certain), by the ledger it was not armed"},
		{"left armed", []Entry{armed(Left, "", "-exit stay")}, false, false, "not by the watchdog"},
		{"left armed, and told", []Entry{armed(Left, "", "-exit stay")}, true, false, "watchdog (certain), left armed: -exit stay"},
		{"started only", []Entry{starving, {Boot: bootC, Mark: Started}}, false, false, "not by the watchdog"},
		{"the other boot is older", []Entry{{Boot: bootC, Mark: Safe}, starving, {Boot: bootB, Mark: Started}, {Boot: bootB, Mark: Safe}}, false, false, "watchdog (probable), starved of app: silent for 5s"},
	} {
		if got := join(tt.last, bootB, tt.card, tt.reports).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestResets(t *testing.T) {
	const hour, minute = int64(3600e3), int64(60e3)
	at := func(boot string, ms int64, up time.Duration, cause Cause) Entry {
		return Entry{Boot: boot, TimeMS: ms, At: up, Mark: Started, Reset: cause}
	}
	for _, tt := range []struct {
		name    string
		entries []Entry
		want    int
	}{
		{"none", nil, 0},
		{"no resets", []Entry{at(bootA, 0, 0, No), at(bootC, 0, 0, NotAsked)}, 0},
		{"both kinds, within", []Entry{at(bootA, 9*hour, 0, Certain), at(bootC, 9*hour+30*minute, 0, Probable)}, 2},
		{"one too old", []Entry{at(bootA, 9*hour-1, 0, Certain), at(bootC, 9*hour+30*minute, 0, Probable)}, 1},
		{"the clock went back", []Entry{at(bootA, 20*hour, 0, Certain)}, 1},
		{"of this boot", []Entry{at(bootB, 10*hour, 0, Certain)}, 1},
		{"no clock, but it has run", []Entry{
			at(bootA, 10*hour, time.Second, Certain), {Boot: bootA, TimeMS: 10 * hour, At: 50 * time.Minute, Mark: Starving},
			at(bootC, 10*hour, time.Second, Certain), {Boot: bootC, TimeMS: 10 * hour, At: 50 * time.Minute, Mark: Starving},
		}, 1},
	} {
		if got := resets(tt.entries, bootB, 10*hour, 10*time.Second, time.Hour); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// FuzzLedger: what is read can be written and is read the same; the rest of it is
// bounded.
func FuzzLedger(f *testing.F) {
	f.Add((&Entry{Boot: bootA, Mark: Starving, ID: "a", Reason: "x", Timeout: time.Second, Device: "/dev/watchdog"}).append(nil))
	f.Add([]byte("{}\n\n{\"v\":1}\n"))
	f.Add((&Entry{Boot: bootB, Mark: Started, Reset: Certain, TimeMS: maxMS}).append([]byte("torn\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, bad := parseLedger(text)
		if lines := bytes.Count(text, []byte("\n")); len(entries)+bad > lines {
			t.Errorf("%d entries and %d bad of %d lines", len(entries), bad, lines)
		}
		for _, e := range entries {
			line := e.append(nil)
			again, err := parseEntry(line)
			if len(line) > maxEntry && len(e.Device)+len(e.Reason) < 100 {
				t.Errorf("%d bytes", len(line))
			}
			if err != nil || again.Mark != e.Mark || again.Boot != e.Boot || again.TimeMS != e.TimeMS || again.At != e.At || again.ID != e.ID || again.Reset != e.Reset {
				t.Fatalf("%s: %+v, %v", line, again, err)
			}
		}
		_ = join(entries, bootC, false, false).String()
		_ = resets(entries, bootC, 0, 0, time.Hour)
		if half := newest(text, len(text)/2); len(half) > len(text)/2 || !bytes.HasSuffix(text, half) {
			t.Errorf("newest %q of %q", half, text)
		}
	})
}
