// Package hold is the lease that excuses silence: "this one is being debugged".
//
// A hold is a file ID.hold in a directory that holders and readers share. It
// always ends: by release, by its own end, or by the longest time a reader
// grants. Each long-running reader says that it has seen a hold in
// ID.ack.TOOL, so that a debugger can wait until nobody will shoot.
package hold

import (
	"errors"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
)

// Host is the id of a hold that excuses every id.
const Host = "_host"

const (
	suffix  = ".hold"
	maxSize = 4096
	maxText = 256 // bytes of By and Reason
)

// Errors to test for with errors.Is.
var (
	ErrNotYours = errors.New("nonce is not that of the hold")
	ErrInvalid  = errors.New("not a hold")
)

// HeldError is reported by Take when somebody holds the id already.
type HeldError struct{ Lease Lease }

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s: held by %s: %s", e.Lease.ID, e.Lease.By, e.Lease.Reason)
}

// Lease is one hold. Times are milliseconds of CLOCK_BOOTTIME within Boot.
type Lease struct {
	ID      string
	By      string // who took it, to show
	Reason  string // what for, to show
	Nonce   string // 32 hexadecimal digits; whoever knows it may renew and release
	Boot    string
	SinceMS int64
	UntilMS int64
}

// End is when the lease ends for a reader that grants at most longest.
func (l Lease) End(longest time.Duration) time.Duration {
	return min(ms(l.UntilMS), ms(l.SinceMS)+longest)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Append appends the lease as one line with its line feed.
func Append(dst []byte, l Lease) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Int("v", 1)
	w.Str("id", l.ID)
	w.Str("by", l.By)
	w.Str("reason", l.Reason)
	w.Str("nonce", l.Nonce)
	w.Str("boot", l.Boot)
	w.Int("since_bt_ms", l.SinceMS)
	w.Int("until_bt_ms", l.UntilMS)
	w.End()
	return append(append(dst, w.Bytes()...), '\n')
}

// Parse reads a lease; errors wrap ErrInvalid and say what is wrong.
func Parse(b []byte, wantID string) (Lease, error) {
	var l Lease
	var version int64
	err := jsonline.Parse(b, func(key string, v jsonline.Value) (err error) {
		switch key {
		case "v":
			version, err = v.Int()
		case "id":
			l.ID, err = v.Str()
		case "by":
			l.By, err = v.Str()
		case "reason":
			l.Reason, err = v.Str()
		case "nonce":
			l.Nonce, err = v.Str()
		case "boot":
			l.Boot, err = v.Str()
		case "since_bt_ms":
			l.SinceMS, err = v.Int()
		case "until_bt_ms":
			l.UntilMS, err = v.Int()
		}
		return err
	})
	if err == nil {
		err = l.check(version, wantID)
	}
	if err != nil {
		return Lease{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return l, nil
}

// A century in milliseconds: sums of two stay within a time.Duration.
const maxMS = 100 * 366 * 24 * 3600 * 1000

func (l Lease) check(version int64, wantID string) error {
	switch {
	case version != 1:
		return fmt.Errorf("version %d, want 1", version)
	case l.ID != wantID || !heartbeat.ValidID(l.ID):
		return fmt.Errorf("id %q, want %q", l.ID, wantID)
	case !hex32(l.Nonce):
		return errors.New("nonce: want 32 hexadecimal digits")
	case !hex32(l.Boot):
		return errors.New("boot: want 32 hexadecimal digits")
	case len(l.By) > maxText || len(l.Reason) > maxText:
		return fmt.Errorf("by, reason: over %d bytes", maxText)
	case l.SinceMS < 0 || l.SinceMS > maxMS || l.UntilMS < l.SinceMS || l.UntilMS > maxMS:
		return errors.New("since_bt_ms, until_bt_ms: out of range")
	}
	return nil
}

func hex32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 32
}
