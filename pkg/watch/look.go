package watch

import (
	"io/fs"

	"vigil/pkg/rundir"
)

// look looks at one file, and reads it if a glance will not do; again as
// Core.Observe says.
func (w *Watcher) look(key int32) (again bool) {
	if w.core.Glances(key, w.last) {
		l := &w.seen
		w.stat(w.core.entries[key], l)
		l.Now = w.step(w.soon())
		l.Wall = w.zero.Add(l.Now)
		if w.core.Glance(key, l) {
			return false
		}
	}
	return w.read(key)
}

// read reads one file; again as Core.Observe says.
func (w *Watcher) read(key int32) (again bool) {
	l := &w.seen
	l.Err = nil
	w.fetch(w.core.entries[key], l)
	l.Now = w.step(w.soon())
	l.Wall = w.zero.Add(l.Now)
	if ms(l.Record.BTMS) > l.Now {
		l.Now = w.lap(w.last) // of the future, or after a suspend
	}
	return w.core.Observe(key, l)
}

// readFile reads the file of e.
func (w *Watcher) readFile(e *entry, l *Look) {
	l.Info, l.Record.BTMS = rundir.Info{}, 0
	if e.source == noSource {
		l.Err = fs.ErrNotExist
		return
	}
	terms, err := w.terms(e)
	if err != nil {
		l.Err = err
		return
	}
	if s := w.sources[e.source]; e.bare {
		l.Record, l.Info, l.Err = s.readBare(e.id, *terms)
	} else {
		l.Err = w.reader.Read(s.dir, e.id, terms, &l.Record)
		l.Info = *w.reader.Info()
	}
}

// statFile asks what the file of e is.
func (w *Watcher) statFile(e *entry, l *Look) {
	l.Err = fs.ErrNotExist
	if e.source != noSource {
		l.Err = w.reader.Stat(w.sources[e.source].dir, e.id)
		l.Info = *w.reader.Info()
	}
}
