package watch

// scan looks at a directory every second, and finds new files if it has changed
// or it is time to look anyway.
func (w *Watcher) scan(i int32, force bool) {
	s := w.sources[i]
	if !force && w.last-s.looked < scanLeast-schedGrain {
		return
	}
	s.looked = w.last
	mtime, ok := s.heal(w.opt.Log)
	if !ok || !force && !s.worth(w.last-s.scan, mtime) {
		return
	}
	began := w.lap(w.last)
	names, err := s.list(w.opt.Log, w.settled(i))
	s.tell(w.opt.Log, err)
	if err == nil {
		s.mtime = mtime
		s.calm = w.wall().Sub(mtime).Abs() > scanCalm
	}
	s.scan = w.lap(w.last)
	s.took = s.scan - began
	w.find(i, s.unearth(names))
}

// settled tells of which ids there is nothing to take up in a directory.
func (w *Watcher) settled(source int32) func(id string, bare bool) bool {
	return func(id string, bare bool) bool {
		key, ok := w.core.key(id)
		if !ok {
			return false
		}
		e := w.core.entries[key]
		return e.source == source && e.bare == bare && !e.missing
	}
}

// find takes up the files of a directory.
func (w *Watcher) find(i int32, names []string) {
	s := w.sources[i]
	for _, name := range names {
		id, bare, _ := s.identify(name)
		if _, known := w.core.key(id); known || !bare || s.regular(name) {
			w.add(id, bare, i, false)
		}
	}
}

// add takes up an id, or a file for one that had none.
func (w *Watcher) add(id string, bare bool, source int32, expected bool) {
	key, ok := w.core.key(id)
	if !ok {
		key = w.core.New(id, source, expected, w.last)
		w.core.entries[key].bare = bare
		return
	}
	e := w.core.entries[key]
	e.expected = e.expected || expected
	switch {
	case source == noSource:
	case e.source == noSource || e.missing:
		e.source, e.bare = source, bare
		w.core.Hurry(key)
	case e.source == source && e.bare == bare:
	case !w.doubles[id]:
		w.doubles[id] = true
		w.opt.Log.Warn(w.sources[source].file((&entry{id: id, bare: bare}).name())+": the id is watched elsewhere already: ignored", "file", w.sources[e.source].file(e.name()))
	}
}
