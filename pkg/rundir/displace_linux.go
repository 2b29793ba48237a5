package rundir

import (
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Displace is Write for a name under which something lies that may have to stay:
// stale is asked about it, by the name that it bears meanwhile. If it has to, it
// gets its own name back and the error matches fs.ErrExist. Somebody is seen under
// name all the time, and nothing is lost that was put there since the caller looked.
// With nothing there it is Create.
func (d *Dir) Displace(name string, data []byte, perm fs.FileMode, stale func(tmp string) bool) error {
	return d.publish(name, data, perm, func(tmp string) error {
		switch err := d.exchange(tmp, name); err {
		case nil:
		case unix.ENOENT:
			return d.link(tmp, name)
		case unix.EINVAL, unix.ENOSYS: // a file system that cannot, such as NFS
			if !stale(name) {
				return unix.EEXIST
			}
			if err := unix.Unlinkat(d.fd(), name, 0); err != nil && err != unix.ENOENT {
				return err
			}
			return d.link(tmp, name)
		default:
			return err
		}
		if stale(tmp) {
			err := unix.Unlinkat(d.fd(), tmp, 0)
			if err == nil {
				return nil
			}
			_ = d.exchange(tmp, name) // a directory: it stays
			return err
		}
		if err := d.exchange(tmp, name); err != nil {
			return err
		}
		return unix.EEXIST
	})
}

func (d *Dir) exchange(a, b string) error {
	return unix.Renameat2(d.fd(), a, d.fd(), b, unix.RENAME_EXCHANGE)
}

const (
	tempPrefix = ".tmp."
	// leftover is how old a temporary file is that was left by a killed process: its
	// maker needs it for milliseconds, and should a clock be set forward just then,
	// only has to write again.
	leftover = time.Hour
)

// Sweep removes the temporary files that processes which were killed have left in the
// directory. now is the wall clock. What cannot be removed stays.
func (d *Dir) Sweep(now time.Time) {
	var old []string
	_ = d.Each(func(name string, _ uint64) {
		if temporary(name) {
			old = append(old, strings.Clone(name))
		}
	})
	for _, name := range old {
		if info, err := d.Stat(name); err == nil && now.Sub(info.ModTime) > leftover {
			_ = unix.Unlinkat(d.fd(), name, 0)
		}
	}
}

// temporary tells whether a name is one that publishOpen makes: .tmp.PID.N.NAME.
func temporary(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	for range 2 {
		digits, after, more := strings.Cut(rest, ".")
		ok = ok && more && digits != "" && strings.Trim(digits, "0123456789") == ""
		rest = after
	}
	return ok && rest != ""
}
