package prom

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/watch"
)

const (
	// Suffix is that of the files which node_exporter reads.
	Suffix = ".prom"

	writeLeast = time.Second      // between two files, whatever happens
	writeMost  = 15 * time.Second // between two files, though nothing does: Prometheus looks as often
	writeAgain = 5 * time.Second  // after one that could not be written
	grain      = 100 * time.Millisecond
)

// CheckPath refuses a file that no node_exporter would read.
func CheckPath(path string) error {
	name := filepath.Base(path)
	if !strings.HasSuffix(name, Suffix) || name == Suffix || strings.HasSuffix(path, "/") {
		return fmt.Errorf("%q: want a name that ends in %s: node_exporter reads no other", path, Suffix)
	}
	if st, err := os.Stat(filepath.Dir(path)); err == nil && !st.IsDir() {
		return fmt.Errorf("%s: not a directory", filepath.Dir(path))
	}
	return nil
}

// Exporter keeps a file up to date. Its methods are for the goroutine of the
// watcher and never block; another one writes, so that a disk that hangs does
// not stop the watch.
type Exporter struct {
	path   string
	log    watch.Log
	count  Page // of which only the counters are used
	idle   chan *Page
	full   chan *Page
	done   chan struct{}
	failed atomic.Bool

	changed bool
	written time.Duration // when a page was last given to be written
}

// NewExporter starts to keep path up to date. Version is that of the program.
func NewExporter(path, version string, log watch.Log) *Exporter {
	x := &Exporter{path: path, log: log, count: Page{Version: version}, changed: true,
		idle: make(chan *Page, 1), full: make(chan *Page, 1), done: make(chan struct{})}
	x.idle <- new(Page)
	go x.write()
	return x
}

// Event takes note of an event.
func (x *Exporter) Event(ev *watch.Event) {
	x.count.Tally(ev)
	x.changed = true
}

// Beat takes note of a beat.
func (x *Exporter) Beat() { x.count.Beats++ }

// Tick has the file written if it is time to, after a sweep that ended now and
// took so long.
func (x *Exporter) Tick(w *watch.Watcher, now, took time.Duration) { x.give(now, took, w.Snapshot) }

// give has a page written, if it is time to.
func (x *Exporter) give(now, took time.Duration, look func(*watch.Snapshot)) {
	wait := writeMost
	switch {
	case x.failed.Load():
		wait = writeAgain
	case x.changed:
		wait = writeLeast
	}
	if x.written > 0 && now-x.written < wait-grain {
		return
	}
	var p *Page
	select {
	case p = <-x.idle:
	default:
		return // the last one is not written yet
	}
	ids := p.IDs
	*p = x.count
	p.IDs, p.Sweep = ids, took
	look(&p.Snapshot)
	x.changed, x.written = false, now
	x.full <- p // has room: there is one page
}

// Close waits at most wait for what is being written. The file stays, and its
// age tells that nobody watches any more.
func (x *Exporter) Close(wait time.Duration) {
	close(x.full)
	select {
	case <-x.done:
	case <-time.After(wait):
		x.log.Warn(x.path + ": the last metrics are not written")
	}
}

// write tells of a fault once as long as it stays the same.
func (x *Exporter) write() {
	defer close(x.done)
	said := ""
	for p := range x.full {
		text := ""
		if err := replace(x.path, p.Write); err != nil {
			text = x.path + ": " + err.Error() + "; the metrics are out of date"
		}
		switch {
		case text == said:
		case text == "":
			x.log.Warn(x.path + ": written again")
		default:
			x.log.Warn(text)
		}
		said = text
		x.failed.Store(text != "")
		x.idle <- p
	}
}

// replace puts a new file in the place of path, or leaves all as it was. The
// directory is the operator's and may be others' to write, too: the temporary
// file must be a new one, and must not end in Suffix, or it would be read.
// There is no fsync: after a crash the old metrics are as wrong as none.
func replace(path string, fill func(io.Writer) error) error {
	tmp := filepath.Join(filepath.Dir(path), "."+strconv.Itoa(os.Getpid())+"."+filepath.Base(path)+".tmp")
	_ = os.Remove(tmp) // left by a process of an earlier life
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("create: %w", cause(err))
	}
	err = f.Chmod(0o644) // whatever the umask: another user reads it
	if err == nil {
		err = fill(f)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = syscall.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write: %w", cause(err))
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
