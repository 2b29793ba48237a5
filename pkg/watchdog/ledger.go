package watchdog

import (
	"bytes"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
)

// Mark is what a line of the ledger says has happened.
type Mark uint8

// The marks.
const (
	Started   Mark = iota + 1 // of wdping; Reset has what it knows of the end of the boot before
	ArmedNow                  // the device was opened
	Starving                  // the device is not pinged any more
	Recovered                 // it is pinged again
	Left                      // the end: armed, for a successor or because it starves
	Safe                      // the end: disarmed
	Lost                      // the end: not known, or the device is gone
	StoodDown                 // not armed, after too many resets
)

// marks are the words for them.
var marks = [...]string{
	Started: "start", ArmedNow: "armed", Starving: "starving", Recovered: "feeding",
	Left: "left_armed", Safe: "disarmed", Lost: "unknown", StoodDown: "stood_down",
}

// Cause tells how sure it is that the watchdog has caused the last reset.
type Cause uint8

// The causes.
const (
	NotAsked Cause = iota // not the first start in its boot
	No
	Probable
	Certain
)

var causes = [...]string{NotAsked: "", No: "no", Probable: "probable", Certain: "certain"}

// Entry is one line of the ledger: what a later boot needs to know of this one.
type Entry struct {
	TimeMS  int64         // wall clock, since 1970
	Boot    string        // id of the boot
	At      time.Duration // since that boot, in milliseconds
	Mark    Mark
	Device  string
	Timeout time.Duration // of the device, in milliseconds
	ID      string        // of the condition that starves it; in Started, that starved the boot before
	Reason  string
	Reset   Cause // in Started
}

// Bounds of the ledger.
const (
	maxReason = 200
	maxDevice = 200
	maxEntry  = 1024     // bytes of a line, with its end
	maxLedger = 64 << 10 // bytes of the file; at that size the older half goes
)

// append appends the line of e.
func (e *Entry) append(dst []byte) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Int("v", 1)
	w.Str("event", marks[e.Mark])
	w.Time("time", e.TimeMS)
	w.Int("time_ms", e.TimeMS)
	w.Str("boot", e.Boot)
	w.Int("bt_ms", e.At.Milliseconds())
	if e.Device != "" {
		w.Str("device", cut(cli.Escape(e.Device), maxDevice))
	}
	if e.Timeout != 0 {
		w.Int("timeout_ms", e.Timeout.Milliseconds())
	}
	if e.Reset != NotAsked {
		w.Str("reset", causes[e.Reset])
	}
	if e.ID != "" {
		w.Str("id", e.ID)
	}
	if e.Reason != "" {
		w.Str("reason", cut(cli.Escape(e.Reason), maxReason))
	}
	w.End()
	return append(append(dst, w.Bytes()...), '\n')
}

// cut shortens text, which is ASCII.
func cut(text string, limit int) string { return text[:min(len(text), limit)] }

// parseEntry reads one line. Members that it does not know are passed over, so that a
// later vigil may add some.
func parseEntry(line []byte) (e Entry, err error) {
	err = jsonline.Parse(line, func(key string, v jsonline.Value) (err error) {
		switch key {
		case "v":
			err = want(v, 1, 1, func(int64) {})
		case "event":
			err = word(v, marks[:], func(i int) { e.Mark = Mark(i) })
		case "time_ms":
			err = want(v, 0, maxMS, func(n int64) { e.TimeMS = n })
		case "boot":
			e.Boot, err = v.Str()
		case "bt_ms":
			err = want(v, 0, maxMS, func(n int64) { e.At = time.Duration(n) * time.Millisecond })
		case "device":
			e.Device, err = v.Str()
		case "timeout_ms":
			err = want(v, 0, maxMS, func(n int64) { e.Timeout = time.Duration(n) * time.Millisecond })
		case "reset":
			err = word(v, causes[:], func(i int) { e.Reset = Cause(i) })
		case "id":
			e.ID, err = v.Str()
		case "reason":
			e.Reason, err = v.Str()
		}
		return err
	})
	switch {
	case err != nil:
	case e.Mark == 0:
		err = fmt.Errorf("want an event")
	case len(e.Boot) != 32 || strings.Trim(e.Boot, "0123456789abcdef") != "":
		err = fmt.Errorf("want a boot of 32 hexadecimal digits")
	case e.ID != "" && !heartbeat.ValidID(e.ID):
		err = fmt.Errorf("%q is no id", e.ID)
	}
	return e, err
}

// maxMS is a time that time.Duration can hold.
const maxMS = int64(1<<63-1) / int64(time.Millisecond)

func want(v jsonline.Value, least, most int64, take func(int64)) error {
	n, err := v.Int()
	if err == nil && (n < least || n > most) {
		err = fmt.Errorf("offset %d: want %d to %d", v.Offset, least, most)
	}
	if err == nil {
		take(n)
	}
	return err
}

func word(v jsonline.Value, words []string, take func(i int)) error {
	text, err := v.Str()
	if err != nil {
		return err
	}
	for i, w := range words {
		if w == text && w != "" {
			take(i)
			return nil
		}
	}
	return fmt.Errorf("offset %d: %q is no word for it", v.Offset, text)
}

// parseLedger reads the lines that are whole. bad is the number of those that
// cannot be read.
func parseLedger(text []byte) (entries []Entry, bad int) {
	for len(text) > 0 {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			break // torn when the machine went down; the next one begins a line of its own
		}
		line := text[:i]
		text = text[i+1:]
		if len(line) == 0 {
			continue
		}
		if e, err := parseEntry(line); err != nil || len(line) >= maxEntry {
			bad++
		} else {
			entries = append(entries, e)
		}
	}
	return entries, bad
}

// newest gives the last whole lines of text that fit into keep bytes.
func newest(text []byte, keep int) []byte {
	if len(text) <= keep {
		return text
	}
	rest := text[len(text)-keep:]
	if text[len(text)-keep-1] == '\n' {
		return rest
	}
	return rest[bytes.IndexByte(rest, '\n')+1:]
}

// Reset is what is known of the last reset of the machine.
type Reset struct {
	Cause  Cause
	ID     string // of the condition that starved the device
	Reason string // why it starved; without ID, what is known else
}

// join tells from the ledger and from what the driver says whether the watchdog has
// ended the boot before this one. Of the ledger the last line of another boot
// counts; a boot without wdping in between cannot be seen.
func join(entries []Entry, boot string, card, reports bool) Reset {
	var last *Entry
	for i := len(entries) - 1; i >= 0 && last == nil; i-- {
		if entries[i].Boot != boot {
			last = &entries[i]
		}
	}
	r := Reset{Cause: No}
	if card {
		r.Cause = Certain
	}
	if last == nil {
		if card {
			r.Reason = "the ledger knows of no boot before"
		}
		return r
	}
	unfed := last.Timeout > 0 // without a device nothing resets
	switch last.Mark {
	case Starving:
		r.ID, r.Reason = last.ID, last.Reason
		if r.ID == "" {
			r.Reason = "starved: " + r.Reason
		}
	case ArmedNow, Recovered:
		r.Reason = "pings ceased while all was well"
	case Left:
		unfed = false // for a successor, or a reboot that was asked for
		r.Reason = "left armed: " + last.Reason
	default:
		unfed = false
		r.Reason = "by the ledger it was not armed"
	}
	if unfed && !card && !reports {
		r.Cause = Probable
	}
	if r.Cause == No {
		return Reset{Cause: No}
	}
	return r
}

// String tells it as -status does.
func (r Reset) String() string {
	if r.Cause == No {
		return "not by the watchdog"
	}
	text := "watchdog (" + causes[r.Cause] + ")"
	switch {
	case r.ID != "":
		text += ", starved of " + r.ID
	case r.Reason != "":
		return text + ", " + r.Reason
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}

// resets counts the boots that the watchdog has ended within window before now.
// Their age is that by the wall clock, or the time that the machine has
// run since, if that is more: a machine whose clock starts anew at each boot
// must not stand down for ever. A time to come counts as recent.
func resets(entries []Entry, boot string, nowMS int64, at, window time.Duration) (n int) {
	ran := time.Duration(0) // since the boot of the entry looked at, as far as is known
	uptime := at
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		if e.Boot != boot {
			ran, uptime, boot = ran+uptime, e.At, e.Boot
		}
		if e.Mark != Started || e.Reset < Probable {
			continue
		}
		age := max(time.Duration(nowMS-e.TimeMS)*time.Millisecond, ran+uptime-e.At)
		if age <= window {
			n++
		}
	}
	return n
}
