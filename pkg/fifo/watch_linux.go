package fifo

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Watcher tells when it is time for Heal, so that an idle server sleeps. Wait
// runs in one goroutine; Add and Close may be called from others.
type Watcher struct{ file *os.File }

// NewWatcher makes a Watcher. It is refused where the user has too many already
// (/proc/sys/fs/inotify/max_user_instances): then call Heal now and then.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &Watcher{os.NewFile(uintptr(fd), "inotify")}, nil
}

// Add watches the FIFO that l serves now; after each Heal there may be another
// one. What happened to it before is not told: call Heal once more.
//
// The FIFO itself is watched, by its descriptor, not the directory, in which
// each answer is an event. That a name of it went is a change of its attributes.
func (w *Watcher) Add(l *Listener) error {
	l.mu.Lock()
	f := l.file
	l.mu.Unlock()
	if f == nil {
		return nil
	}
	var err error
	control(w.file, func(in int) {
		control(f, func(fd int) {
			_, err = unix.InotifyAddWatch(in, "/proc/self/fd/"+strconv.Itoa(fd), unix.IN_ATTRIB|unix.IN_MOVE_SELF|unix.IN_DELETE_SELF)
		})
	})
	if err != nil {
		return fmt.Errorf("%s: watch: %w", l.path(), err)
	}
	return nil
}

// AddPath watches what else bears a name beside the FIFOs, without following a
// symbolic link.
func (w *Watcher) AddPath(path string) error {
	var err error
	control(w.file, func(in int) {
		_, err = unix.InotifyAddWatch(in, path, unix.IN_ATTRIB|unix.IN_MOVE_SELF|unix.IN_DELETE_SELF|unix.IN_DONT_FOLLOW)
	})
	if err != nil {
		return fmt.Errorf("%s: watch: %w", path, err)
	}
	return nil
}

// Wait returns nil when a FIFO may have been removed or replaced, and an error
// that is os.ErrClosed after Close.
func (w *Watcher) Wait() error {
	// What the events say is not needed: Heal looks for itself.
	_, err := w.file.Read(make([]byte, 64*unix.SizeofInotifyEvent))
	if errors.Is(err, os.ErrClosed) {
		return os.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("inotify: read: %w", cause(err))
	}
	return nil
}

// Close ends Wait.
func (w *Watcher) Close() error { return w.file.Close() }
