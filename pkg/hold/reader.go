package hold

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// Kind is what happened to a hold.
type Kind uint8

// The kinds of Change.
const (
	Began  Kind = iota + 1
	Ending      // 80 % of it are over, and again 60 s before its end
	Ended       // released, expired or replaced: every clock it excused starts afresh
)

// Change is something that happened to a hold since the last Refresh.
type Change struct {
	Kind  Kind
	Lease Lease
	Left  time.Duration // until its end, for Began and Ending
}

// Reader is one program's view of a hold directory. Not for concurrent use.
type Reader struct {
	path    string
	tool    string
	longest time.Duration
	boot    string
	dir     *rundir.Dir
	leases  map[string]*tracked
}

type tracked struct {
	Lease
	end    time.Duration // as this reader grants it
	span   time.Duration // from taking or renewal to end, for the 80 %
	warned int           // how many of the two Endings were told
	acked  bool
}

// NewReader opens the directory path for the program tool, which grants each
// hold at most longest from its taking. The directory must be trusted as
// rundir says; the program acknowledges in it if it may write there. A tool ""
// never acknowledges: a check that does not stay cannot promise anything.
func NewReader(path, tool string, longest time.Duration) (*Reader, error) {
	boot, err := boottime.ID()
	if err != nil {
		return nil, err
	}
	dir, err := rundir.Open(path)
	if err != nil {
		return nil, err
	}
	return &Reader{path: path, tool: tool, longest: longest, boot: boot, dir: dir, leases: map[string]*tracked{}}, nil
}

// Close closes the directory.
func (r *Reader) Close() error { return r.dir.Close() }

// Active gives the hold that excuses id at now (CLOCK_BOOTTIME), as of the last
// Refresh: its own, or that of Host.
func (r *Reader) Active(id string, now time.Duration) (Lease, bool) {
	for _, key := range [...]string{id, Host} {
		if t := r.leases[key]; t != nil && now < t.end {
			return t.Lease, true
		}
	}
	return Lease{}, false
}

// Refresh looks at the directory, acknowledges what is new, and tells what
// changed. Call it before a verdict, not only now and then: a hold counts from
// the moment it lies there. The error names files that are no holds or could
// not be acknowledged; the changes are valid beside it. Holds that cannot be
// read any more are kept until their end, so that a fault does not shoot.
func (r *Reader) Refresh(now time.Duration) ([]Change, error) {
	if r.dir.Gone() {
		if dir, err := rundir.Open(r.path); err == nil {
			_ = r.dir.Close()
			r.dir = dir
		}
	}
	names, err := r.dir.Names()
	if err != nil {
		return r.expire(now, nil), err
	}
	var changes []Change
	var faults []error
	present := map[string]bool{}
	for _, name := range names {
		id, ok := strings.CutSuffix(name, suffix)
		if !ok || !heartbeat.ValidID(id) {
			continue
		}
		l, err := read(r.dir, id)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, ErrInvalid):
			faults = append(faults, err)
			continue
		case err != nil:
			faults = append(faults, err)
			present[id] = true
			continue
		}
		if l.Boot != r.boot || ms(l.SinceMS) > now+time.Second || now >= l.End(r.longest) {
			continue // of another boot, of the future, over
		}
		present[id] = true
		changes = append(changes, r.see(l, now)...)
		if err := r.acknowledge(id); err != nil {
			faults = append(faults, err)
		}
	}
	return append(changes, r.expire(now, present)...), errors.Join(faults...)
}

// see takes in a valid lease.
func (r *Reader) see(l Lease, now time.Duration) []Change {
	var changes []Change
	t := r.leases[l.ID]
	if t != nil && t.Nonce != l.Nonce {
		changes = append(changes, Change{Kind: Ended, Lease: t.Lease})
		t = nil
	}
	end := l.End(r.longest)
	if t == nil {
		t = &tracked{Lease: l, end: end, span: end - ms(l.SinceMS)}
		r.leases[l.ID] = t
		changes = append(changes, Change{Began, l, end - now})
	} else if t.UntilMS != l.UntilMS {
		t.Lease, t.end, t.span, t.warned = l, end, end-now, 0
	}
	if left := t.end - now; t.warned < 1 && left <= t.span/5 || t.warned < 2 && left <= time.Minute && t.span/5 > time.Minute {
		t.warned++
		if left <= time.Minute {
			t.warned = 2
		}
		changes = append(changes, Change{Ending, t.Lease, left})
	}
	return changes
}

// expire drops what is over: past its end, or not present any more. A nil
// present means that the directory could not be read.
func (r *Reader) expire(now time.Duration, present map[string]bool) []Change {
	var changes []Change
	for id, t := range r.leases {
		if now < t.end && (present == nil || present[id]) {
			continue
		}
		delete(r.leases, id)
		changes = append(changes, Change{Kind: Ended, Lease: t.Lease})
		if t.acked {
			// Not ours to insist on: Release removes acknowledgements too.
			_ = r.dir.Remove(ackName(id, r.tool))
		}
	}
	return changes
}

func (r *Reader) acknowledge(id string) error {
	t := r.leases[id]
	if r.tool == "" || t == nil || t.acked {
		return nil
	}
	if err := r.dir.Write(ackName(id, r.tool), []byte(t.Nonce+"\n"), 0o644); err != nil {
		return fmt.Errorf("hold %s: acknowledge: %w", id, err)
	}
	t.acked = true
	return nil
}
