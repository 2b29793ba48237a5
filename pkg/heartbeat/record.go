// Package heartbeat is the record in which a sender says that it is alive: its
// text form, the one writer of its file, and the careful reader.
//
// A record is one JSON line, padded with spaces so that the line feed is the
// last byte of a 512-byte block, and overwritten in place by one pwrite within
// one page. A reader may still catch the copy half-way (1 read in 10^8 at one
// beat a second, far more under a writer that is preempted just there), so the
// record carries a checksum of its text.
package heartbeat

import (
	"strings"

	"vigil/pkg/fmt"
)

// Bounds of the format.
const (
	Block      = 512  // a file grows in steps of it
	MaxSize    = 4096 // bytes of a file, line feed included: one page
	MaxMetrics = 16
	maxID      = 64

	// Times and durations over a century are mistakes; under it no sum of them
	// overflows a time.Duration.
	maxMS = 100 * 366 * 24 * 3600 * 1000
	// A wall clock may stand in year 2500; JSON readers keep 53 bits.
	maxWallMS = 1<<53 - 1
)

// Suffix ends the name of a heartbeat file; what stands before it is the id.
const Suffix = ".hb"

// Status is what a sender says of itself.
type Status uint8

// The status words, in the order of statusNames.
const (
	OK       Status = iota
	Starting        // alive, not yet serving
	Degraded        // alive, not well
	Error           // alive, failed
	Stopping        // the last beat of an orderly end
	Held            // stands in for a held process; excuses only where the reader sees the hold too
)

var statusNames = [...]string{"ok", "starting", "degraded", "error", "stopping", "held"}

// String gives the word that stands in the record.
func (s Status) String() string { return statusNames[s] }

// ParseStatus reads a status word, in lower case or in capitals.
func ParseStatus(word string) (Status, error) {
	for i, name := range statusNames {
		if word == name || capitals(word, name) {
			return Status(i), nil
		}
	}
	return 0, fmt.Errorf("status %q: want one of %s", word, strings.Join(statusNames[:], ", "))
}

// capitals tells whether word is name in capitals.
func capitals(word, name string) bool {
	if len(word) != len(name) {
		return false
	}
	for i := range len(word) {
		if word[i] != name[i]-'a'+'A' {
			return false
		}
	}
	return true
}

// Metric is one finite number that a sender shows.
type Metric struct {
	Name  string // [A-Za-z0-9._-]{1,64}
	Value float64
}

// Via names the beat of another sender that a relay has forwarded.
type Via struct {
	ID      string // "" if the beat named none
	Seq     uint64 // 0 if it had none
	StartMS int64  // start_ms of its sender; 0 if it said none
}

// Record is one heartbeat. Durations and times are whole milliseconds, as in
// the text; zero means absent where the text may leave a member out.
type Record struct {
	Foreign    bool   // not of our making: no version, only ID is certain
	ID         string // equal to the file's name without Suffix
	PID        int    // of the process that the beat speaks of; 0 unknown
	Boot       string // 32 hexadecimal digits
	StartMS    int64  // wall clock at the sender's start
	Seq        uint64
	TSMS       int64 // wall clock of the beat, to show
	BTMS       int64 // CLOCK_BOOTTIME of the beat, to judge; meaningful within Boot only
	IntervalMS int64 // the sender beats at least this often, jitter aside
	TTLMS      int64 // the sender asks to be called dead after this long
	Status     Status
	LateMS     int64 // how late the sender woke for this beat
	GapMaxMS   int64 // its longest gap lately (decaying peak)
	Via        *Via  // the beat that this one was made of by a relay; nil for none
	Msg        string
	Metrics    []Metric // in the order of the text
	CRC        bool     // the text carries (or shall carry) a checksum of itself
	Sig        string   // 64 hexadecimal digits, or none
}

// ValidID tells whether id may name a heartbeat: [A-Za-z0-9._-]{1,64}, not
// starting with '.' or '-'.
func ValidID(id string) bool {
	return validName(id) && id[0] != '.' && id[0] != '-'
}

func validName(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// FileID gives the id that a file's name stands for, if it is a heartbeat's.
func FileID(name string) (id string, ok bool) {
	id, ok = strings.CutSuffix(name, Suffix)
	return id, ok && ValidID(id)
}

// Reason says why a file is not taken for a heartbeat.
type Reason uint8

// The reasons, in the order of reasonNames. Those up to BadSignature lie in
// the text and may be a write caught half-way: look again before you count them.
const (
	Empty Reason = iota
	Malformed
	Truncated
	Torn // the checksum is not that of the text
	DuplicateKey
	NotFinite
	WrongID
	BadVersion
	Unsigned     // a signature is wanted, and there is none
	BadSignature // not made by the key over this text
	Oversize
	NotRegular
	ForeignOwner
	Writable
	Unreadable
	Replayed // older than what was seen before
	Future   // from after now
)

var reasonNames = [...]string{
	"empty", "malformed", "truncated", "torn", "duplicate_key", "not_finite", "wrong_id",
	"version", "unsigned", "bad_signature", "oversize", "not_regular", "foreign_owner", "writable", "unreadable", "replayed", "future",
}

// String gives the word that is counted and shown.
func (r Reason) String() string { return reasonNames[r] }

// Reject is the error for a text or file that is not taken for a heartbeat.
type Reject struct {
	Reason Reason
	Detail string
}

func (r *Reject) Error() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}

// Transient tells whether the fault may be a write caught half-way.
func (r *Reject) Transient() bool { return r.Reason <= BadSignature }
