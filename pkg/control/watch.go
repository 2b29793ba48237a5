package control

import (
	"time"

	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
)

// healAfter is how long a FIFO may be missing. Not at once: whoever removes the
// whole directory should come to the end of it.
const healAfter = time.Second

// watch keeps the FIFOs in place until the end. Nothing wakes an idle server
// but its sweeping, every ten minutes; where the kernel does not tell of
// changes, it looks once a second.
func (s *Server) watch(done <-chan struct{}, broken <-chan error) error {
	changed := make(chan struct{}, 1)
	watcher, err := fifo.NewWatcher()
	if err == nil {
		defer watcher.Close()
		go notice(watcher, changed)
		err = s.add(watcher)
	}
	s.complain("watch", err)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	// Armed from the start: what happened before there was a watch is not told.
	look := time.NewTimer(healAfter)
	defer look.Stop()
	armed := true
	for {
		select {
		case <-done:
			return nil
		case <-s.quit:
			return nil
		case err := <-broken:
			return err
		case <-sweep.C:
			s.sweep()
		case <-changed:
			if !armed {
				look.Reset(healAfter)
				armed = true
			}
		case <-look.C:
			if s.dir.Gone() {
				return fmt.Errorf("%s: directory was removed", s.dir.Path())
			}
			again := s.heal()
			if watcher != nil && (again || err != nil) {
				err = s.add(watcher)
			}
			armed = again || err != nil
			if armed {
				look.Reset(healAfter)
			}
		}
	}
}

// notice passes on that something changed, until the watcher is closed.
func notice(w *fifo.Watcher, changed chan<- struct{}) {
	for w.Wait() == nil {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

func (s *Server) add(w *fifo.Watcher) error {
	for _, d := range s.doors {
		if err := w.Add(d.Listener); err != nil {
			return err
		}
	}
	if s.connections != nil {
		return w.AddPath(s.connections.Watched())
	}
	return nil
}

// heal puts the FIFOs back in place, and says whether to look again: because
// one is new and not watched yet, or could not be made.
func (s *Server) heal() (again bool) {
	for _, d := range s.doors {
		healed, err := d.Heal()
		if healed {
			s.log.Warn(s.dir.Path() + ": a FIFO was removed or replaced: made anew")
		}
		s.complain("heal", err)
		again = again || healed || err != nil
	}
	if s.connections != nil {
		healed, err := s.connections.Heal()
		if healed {
			s.log.Warn(s.dir.Path() + ": the socket was removed or replaced: made anew")
		}
		s.complain("heal socket", err)
		again = again || healed || err != nil
	}
	return again
}
