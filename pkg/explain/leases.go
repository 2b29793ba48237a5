package explain

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

// holdMax is how long a hold counts in status; readers have their own limit,
// which is this one by default.
const holdMax = time.Hour

// Leases takes and releases the hold on one id. Its verbs are for ctl.admin.
type Leases struct {
	id     string
	dir    *rundir.Dir
	reader *hold.Reader

	mu    sync.Mutex
	nonce string // of the hold that was taken through these verbs
}

// OpenLeases opens the directory in which holds on id are taken.
func OpenLeases(path, id string) (*Leases, error) {
	dir, err := rundir.Open(path)
	if err != nil {
		return nil, err
	}
	// Without a name the reader acknowledges nothing: nobody here can shoot.
	reader, err := hold.NewReader(path, "", holdMax)
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return &Leases{id: id, dir: dir, reader: reader}, nil
}

// Verbs gives hold and release.
func (l *Leases) Verbs() []control.Verb {
	return []control.Verb{
		{
			Name: "hold", Admin: true, Run: l.hold,
			Keys: []control.Key{{Name: "ttl", Hint: "DURATION", Required: true}, {Name: "reason", Hint: "TEXT"}, {Name: "nonce", Hint: "NONCE"}},
			Help: "excuse the target's silence for a while; with the nonce of a hold, let that end later",
		},
		{
			Name: "release", Admin: true, Run: l.release,
			Keys: []control.Key{{Name: "nonce", Hint: "NONCE"}, {Name: "force", Hint: "yes"}},
			Help: "end the hold taken here or of that nonce, or whosever it is",
		},
	}
}

// ParseTTL reads how long a hold is to last.
func ParseTTL(s string) (time.Duration, error) {
	ttl, err := time.ParseDuration(s)
	if err != nil || ttl < time.Millisecond {
		return 0, fmt.Errorf("ttl %q: want a time with a unit, as 10m", s)
	}
	return ttl, nil
}

// LeasePairs shows a hold that was taken or renewed.
func LeasePairs(l hold.Lease) []control.Pair {
	var r control.Reply
	r.Add("nonce", l.Nonce)
	r.Add("until_ms", l.UntilMS)
	r.Add("left_ms", l.UntilMS-boottime.Now().Milliseconds())
	return r.Pairs
}

func (l *Leases) hold(c control.Call) (control.Reply, error) {
	ttl, err := ParseTTL(c.Get("ttl"))
	if err != nil {
		return control.Reply{}, control.Refuse(control.Usage, "%v", err)
	}
	reason := c.Get("reason")
	if reason == "" {
		reason = "none given"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var lease hold.Lease
	if nonce := c.Get("nonce"); nonce != "" {
		lease, err = hold.Renew(l.dir, l.id, nonce, ttl)
	} else {
		lease, err = hold.Take(l.dir, l.id, control.AdminName, reason, ttl)
	}
	if err != nil {
		return control.Reply{}, refuseLease(err)
	}
	l.nonce = lease.Nonce
	return control.Reply{Pairs: LeasePairs(lease)}, nil
}

func (l *Leases) release(c control.Call) (control.Reply, error) {
	force := c.Get("force")
	if force != "" && force != "yes" {
		return control.Reply{}, control.Refuse(control.Usage, "force %s: want yes", force)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	nonce := c.Get("nonce")
	if nonce == "" {
		nonce = l.nonce
	}
	if nonce == "" && force == "" {
		return control.Reply{}, control.Refuse(control.NotHeld, "no hold was taken here: give nonce=NONCE or force=yes")
	}
	lease, err := hold.Release(l.dir, l.id, nonce, force != "")
	if err != nil {
		return control.Reply{}, refuseLease(err)
	}
	l.nonce = ""
	return control.Reply{Pairs: WhosePairs(lease)}, nil
}

// WhosePairs shows whose hold it was.
func WhosePairs(l hold.Lease) []control.Pair {
	var r control.Reply
	r.Add("by", l.By)
	r.Add("reason", l.Reason)
	return r.Pairs
}

func refuseLease(err error) error {
	var held *hold.HeldError
	switch {
	case errors.As(err, &held):
		return control.Refuse(control.Held, "%s", HeldText(held.Lease))
	case errors.Is(err, fs.ErrNotExist):
		return control.Refuse(control.NotHeld, "nothing is held")
	case errors.Is(err, hold.ErrNotYours):
		return control.Refuse(control.NotHeld, "%v", err)
	}
	return err
}

// HeldText says whose a hold is, in one line.
func HeldText(l hold.Lease) string {
	left := time.Duration(l.UntilMS-boottime.Now().Milliseconds()) * time.Millisecond
	return fmt.Sprintf("held by=%s reason=%s until_ms=%d (%v left)", l.By, l.Reason, l.UntilMS, left.Round(time.Second))
}

// Held is for Process: the hold that excuses the id now.
func (l *Leases) Held() []control.Pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := boottime.Now()
	_, err := l.reader.Refresh(now)
	lease, ok := l.reader.Active(l.id, now)
	var r control.Reply
	switch {
	case ok:
		r.Add("held", "yes")
		r.Add("held_by", lease.By)
		r.Add("held_reason", lease.Reason)
		r.Add("held_left_ms", (lease.End(holdMax) - now).Milliseconds())
	case err != nil:
		r.Add("held", "unknown")
		r.Add("held_fault", err)
	default:
		r.Add("held", "no")
	}
	return r.Pairs
}
