// Package feed keeps the time of a file fresh for a watchdog of somebody
// else's, until an id that matters has been dead for too long.
package feed

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/watch"
)

// least is between two touches: times of files are told in seconds.
const least = 500 * time.Millisecond

// Feeder touches a file. Its methods are for the goroutine of the watcher and
// do not block; another one touches, so that a file system that hangs starves
// the other watchdog, and not this one.
type Feeder struct {
	path  string
	ids   []string
	after time.Duration
	log   watch.Log

	dead    map[string]time.Duration // since when it was seen to be
	stalled time.Duration            // since the last Tick
	fed     time.Duration            // when that was; 0: never
	starved bool
	work    chan struct{}
	done    chan struct{}
}

// New feeds path unless one of the ids is dead for longer than after. The
// caller calls Close.
func New(path string, ids []string, after time.Duration, log watch.Log) *Feeder {
	f := &Feeder{path: path, ids: ids, after: after, log: log,
		dead: map[string]time.Duration{}, work: make(chan struct{}, 1), done: make(chan struct{})}
	go f.run()
	return f
}

// Event takes note of a stall of the watcher: what was dead before may have had
// no chance to show that it is not.
func (f *Feeder) Event(ev *watch.Event) {
	if ev.Kind == watch.LocalStall {
		f.stalled += ev.Span
	}
}

// Tick touches the file, if that is right now. known says what the state of an
// id is, if it is known at all.
func (f *Feeder) Tick(now time.Duration, known func(id string) (watch.State, bool)) {
	starved := ""
	for _, id := range f.ids {
		since, dead := f.dead[id]
		switch state, ok := known(id); {
		case ok && state != watch.Dead:
			delete(f.dead, id)
			continue
		case dead: // or forgotten since
			since = min(since+f.stalled, now)
		case ok:
			since = now
		default:
			continue
		}
		f.dead[id] = since
		if now-since >= f.after {
			starved = id
		}
	}
	f.stalled = 0
	switch {
	case starved != "" && !f.starved:
		f.log.Warn(f.path + ": not fed any more: " + starved + " is dead for " + f.after.String())
	case starved == "" && f.starved:
		f.log.Warn(f.path + ": fed again")
	}
	f.starved = starved != ""
	if f.starved || f.fed > 0 && now-f.fed < least {
		return
	}
	f.fed = now
	select {
	case f.work <- struct{}{}:
	default: // the last touch is not done yet
	}
}

// Close waits at most wait for a touch that is going on. The file stays.
func (f *Feeder) Close(wait time.Duration) {
	close(f.work)
	select {
	case <-f.done:
	case <-time.After(wait):
	}
}

// run tells of a fault once as long as it stays the same.
func (f *Feeder) run() {
	defer close(f.done)
	said := ""
	for range f.work {
		text := ""
		if err := touch(f.path); err != nil {
			text = err.Error()
		}
		if text != said && text != "" {
			f.log.Warn(text)
		}
		said = text
	}
}

// CheckPath refuses what can be no file to touch.
func CheckPath(path string) error {
	st, err := os.Stat(path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", path)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("%s: %w", path, cause(err))
}

// utimeNow stands for the present in utimensat(2): who may write a file may set
// that, but no other time, without owning it.
const utimeNow = 1<<30 - 1

// touch never opens what is there: of a device, that may have effects.
func touch(path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	now := syscall.Timespec{Nsec: utimeNow}
	err := syscall.UtimesNano(path, []syscall.Timespec{now, now})
	if err == syscall.ENOENT {
		var made *os.File
		if made, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644); err == nil {
			err = made.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("%s: touch: %w", path, cause(err))
	}
	return nil
}

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
