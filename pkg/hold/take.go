package hold

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// lockWait bounds how long a change waits for another one in the same
// directory. Each takes well under a millisecond.
const lockWait = 2 * time.Second

// Take takes the hold on id for ttl. A hold that is still valid is never
// replaced: the error is a *HeldError that says whose it is. What lies there
// from another boot, past its end, or is no hold at all, is replaced.
func Take(d *rundir.Dir, id, by, reason string, ttl time.Duration) (Lease, error) {
	boot, err := boottime.ID()
	if err != nil {
		return Lease{}, err
	}
	now := boottime.Now().Milliseconds()
	l := Lease{
		ID: id, By: clip(by), Reason: clip(reason), Boot: boot,
		Nonce:   fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()),
		SinceMS: now, UntilMS: now + ttl.Milliseconds(),
	}
	if err := l.check(1, id); err != nil {
		return Lease{}, err
	}
	d.Sweep(time.Now())
	err = locked(d, func() error {
		old, err := read(d, id)
		if err == nil && old.Boot == boot && old.UntilMS > now {
			return &HeldError{old}
		}
		// A shell that takes a hold with ln(1) knows no lock: what has come there since
		// is not to be lost.
		err = d.Displace(id+suffix, Append(nil, l), 0o644, func(tmp string) bool {
			old, err = readAs(d, tmp, id)
			return err != nil || old.Boot != boot || old.UntilMS <= now
		})
		if errors.Is(err, fs.ErrExist) {
			return &HeldError{old}
		}
		return err
	})
	return l, err
}

// Renew lets the hold end ttl from now. Readers still count their longest time
// from the first taking. A hold that has ended cannot be renewed: it matches
// fs.ErrNotExist.
func Renew(d *rundir.Dir, id, nonce string, ttl time.Duration) (l Lease, err error) {
	err = locked(d, func() error {
		if l, err = owned(d, id, nonce); err != nil {
			return err
		}
		now := boottime.Now().Milliseconds()
		boot, err := boottime.ID()
		if err != nil {
			return err
		}
		if l.Boot != boot || l.UntilMS <= now {
			return fmt.Errorf("%s: hold has ended: %w", id, fs.ErrNotExist)
		}
		l.UntilMS = now + ttl.Milliseconds()
		if err := l.check(1, id); err != nil {
			return err
		}
		return d.Write(id+suffix, Append(nil, l), 0o644)
	})
	return l, err
}

// Release ends the hold and gives the lease that was released. force releases
// it whatever the nonce; ErrNotYours otherwise, and fs.ErrNotExist where
// nothing is held.
func Release(d *rundir.Dir, id, nonce string, force bool) (l Lease, err error) {
	err = locked(d, func() error {
		if force {
			l, err = read(d, id)
			if errors.Is(err, ErrInvalid) {
				err = nil // rubbish under the name: it may go too
			}
		} else {
			l, err = owned(d, id, nonce)
		}
		if err != nil {
			return err
		}
		if err := d.Remove(id + suffix); err != nil {
			return err
		}
		return removeAcks(d, id)
	})
	return l, err
}

// Missing names those of tools that have not acknowledged the hold with this
// nonce yet.
func Missing(d *rundir.Dir, id, nonce string, tools []string) []string {
	var missing []string
	for _, tool := range tools {
		b, _, err := d.Read(ackName(id, tool), maxSize)
		if err != nil || strings.TrimSpace(string(b)) != nonce {
			missing = append(missing, tool)
		}
	}
	return missing
}

func ackName(id, tool string) string { return id + ".ack." + tool }

func removeAcks(d *rundir.Dir, id string) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		// An id may look like an acknowledgement: x.ack.b is one of its own.
		if strings.HasPrefix(name, id+".ack.") && !strings.HasSuffix(name, suffix) {
			// A reader may have removed its own meanwhile.
			if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func owned(d *rundir.Dir, id, nonce string) (Lease, error) {
	l, err := read(d, id)
	if err == nil && l.Nonce != nonce {
		return l, fmt.Errorf("%s: held by %s: %w", id, l.By, ErrNotYours)
	}
	return l, err
}

func read(d *rundir.Dir, id string) (Lease, error) {
	if !heartbeat.ValidID(id) {
		return Lease{}, fmt.Errorf("id %q: want 1 to 64 of A-Za-z0-9._- not starting with . or -", id)
	}
	return readAs(d, id+suffix, id)
}

// readAs reads a hold on id from a file of any name.
func readAs(d *rundir.Dir, name, id string) (Lease, error) {
	b, info, err := d.Read(name, maxSize)
	switch {
	case errors.Is(err, rundir.ErrNotRegular), errors.Is(err, rundir.ErrTooLong):
		return Lease{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	case err != nil:
		return Lease{}, err
	case info.UID != 0 && info.UID != os.Geteuid():
		return Lease{}, fmt.Errorf("%s: belongs to uid %d: %w", name, info.UID, ErrInvalid)
	}
	l, err := Parse(b, id)
	if err != nil {
		return Lease{}, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// lockName is private to its owner: a lock that strangers may open is a lock
// that strangers may keep.
const lockName = ".hold.lock"

func locked(d *rundir.Dir, change func() error) error {
	if err := d.Create(lockName, nil, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, _, err := d.OpenFile(lockName, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	for wait := time.Duration(0); ; wait += 5 * time.Millisecond {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return change()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || wait > lockWait {
			return fmt.Errorf("%s/%s: lock: %w", d.Path(), lockName, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clip keeps texts for people within the format.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
