package watch

import "time"

// forgettable tells whether e has been dead or stopped for long, with nothing
// going on in its file: what somebody still writes to is not forgotten, though
// it be no heartbeat.
func (c *Core) forgettable(e *entry, now time.Duration) bool {
	return c.cfg.Forget > 0 && !e.expected && (e.state == Dead || e.state == Stopped) &&
		(e.missing || e.reject == 0) && now-e.since >= c.cfg.Forget
}

// gone tells of the end of an id, and drops it.
func (c *Core) gone(key int32, now time.Duration) {
	e := c.entries[key]
	reason := reasonUnchanged
	if e.missing {
		reason = reasonMissing
	}
	c.emit(Event{Kind: Gone, ID: e.id, From: e.state, Reason: reason, Span: now - e.since})
	c.forget(key)
}

// bury remembers the file of an id that is about to be forgotten, if there is
// one: as long as nobody touches it, it is not to be found again.
func (w *Watcher) bury(e *entry) {
	if e.missing || e.source == noSource {
		return
	}
	s := w.sources[e.source]
	if s.buried == nil {
		s.buried = map[string]uint64{}
	}
	s.buried[e.name()] = e.mark
}

// unearth drops of names those of files that were buried and are untouched.
func (s *source) unearth(names []string) []string {
	if len(s.buried) == 0 {
		return names
	}
	kept, still := names[:0], map[string]uint64{}
	for _, name := range names {
		if mark, ok := s.buried[name]; ok && s.untouched(name, mark) {
			still[name] = mark
			continue
		}
		kept = append(kept, name)
	}
	s.buried = still
	return kept
}

func (s *source) untouched(name string, mark uint64) bool {
	info, err := s.dir.Stat(name)
	return err == nil && markOf(&info) == mark
}
