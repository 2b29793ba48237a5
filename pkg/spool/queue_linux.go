package spool

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// What is done when the process is gone the kernel does not count any more, and
// it is root's: without bounds of their own a user who lets programs crash as fast
// as he can would have a thousand of these run at once.
const (
	queueName = ".afterwards"
	queued    = 16 // wait or work
	working   = 2
)

// ErrBusy says that too many crashes are being looked into.
var ErrBusy = errors.New("many others are being looked into: corecap stacks shows it")

// Queue waits until a crash in the directory path may be looked into. The caller calls leave afterwards.
// The error wraps ErrBusy when too many wait already.
func Queue(path string) (leave func() error, err error) {
	dir, err := rundir.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Create(queueName, nil, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, _, err := dir.OpenFile(queueName, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	// A byte is a place: first those of the queue, then those of the workers.
	for place := range int64(queued) {
		err := lockByte(f, unix.F_OFD_SETLK, place)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			continue
		}
		if err == nil {
			err = lockByte(f, unix.F_OFD_SETLKW, queued+place%working)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s/%s: lock: %w", path, queueName, err)
		}
		return f.Close, nil
	}
	f.Close()
	return nil, ErrBusy
}

// lockByte locks one byte of f, until it is closed (F_OFD_SETLK in fcntl(2)).
func lockByte(f *os.File, how int, at int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), how, &unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
