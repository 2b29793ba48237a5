package rundir

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// lockSuffix ends the name of the file that a Keep locks, beside its own: that
// one is replaced by each Write.
const lockSuffix = ".lock"

// ErrInUse is reported for a Keep that another process has open.
var ErrInUse = errors.New("another process uses it")

// Keep is a file in which one program at a time keeps over a restart what it knows.
// Not for concurrent use.
type Keep struct {
	dir        *Dir
	name, path string
	lock       *os.File
}

// OpenKeep locks the file of this path, which need not exist yet; its directory
// must be one to be trusted. The caller closes it.
func OpenKeep(path string) (*Keep, error) {
	dir, err := Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	k := &Keep{dir: dir, name: filepath.Base(path), path: path}
	fd, err := openat(dir.fd(), k.name+lockSuffix, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		k.Close()
		return nil, fail(path+lockSuffix, "open", err)
	}
	k.lock = os.NewFile(uintptr(fd), path+lockSuffix)
	switch err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		dir.Sweep(time.Now())
		return k, nil
	case unix.EWOULDBLOCK:
		err = fmt.Errorf("%s: %w", path, ErrInUse)
	default:
		err = fail(path+lockSuffix, "lock", err)
	}
	k.Close()
	return nil, err
}

// Path is the path given to OpenKeep.
func (k *Keep) Path() string { return k.path }

// Read gives what was kept, at most limit bytes; errors are those of Dir.Read.
func (k *Keep) Read(limit int) ([]byte, error) {
	b, _, err := k.dir.Read(k.name, limit)
	return b, err
}

// Write replaces it. A directory that was removed and made again is opened and locked
// anew.
func (k *Keep) Write(b []byte) error {
	if k.dir.Gone() {
		again, err := OpenKeep(k.path)
		if err != nil {
			return err
		}
		k.Close()
		*k = *again
	}
	return k.dir.Write(k.name, b, 0o600)
}

// Close gives up the lock. Its file stays: to remove it would let two lock two.
func (k *Keep) Close() {
	if k.lock != nil {
		_ = k.lock.Close()
	}
	_ = k.dir.Close()
}
