package condition

import (
	"errors"
	"io/fs"
	"path"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// progress is the memory of a thing that has to move on: when it last did, as
// far as can be known. The zero value knows of none.
type progress struct {
	known  bool
	at     time.Duration // CLOCK_BOOTTIME of the last sign
	excuse time.Duration // no silence counts from before this; 0 for none, as at may lie before the boot
}

func (p *progress) sign(at time.Duration) { p.known, p.at = true, at }

func (p *progress) renew(now time.Duration) {
	if p.known {
		p.excuse = now
	}
}

// stale gives why there was no sign within D of now, or "".
func (p *progress) stale(now, within time.Duration) string {
	if !p.known {
		return "no change seen yet"
	}
	from := p.at
	if p.excuse != 0 {
		from = max(from, p.excuse)
	}
	if now-from > within {
		return fmt.Sprintf("silent for %s, want %s", round(now-p.at), within)
	}
	return ""
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// mark is what changes when somebody writes, replaces or touches a file.
type mark struct {
	dev, ino uint64
	size     int64
	mtimeNS  int64
}

// watch is progress told by observed change. Times of the file count once, at
// the first look, when nothing else is known; later a clock step cannot matter.
type watch struct {
	progress
	seen bool
	last mark
}

// observe takes in the file as it is now. guess allows its mtime at first sight.
func (w *watch) observe(m mark, c Clock, guess bool) {
	switch {
	case w.seen && m != w.last:
		w.sign(c.Boot)
	case !w.seen && guess:
		// A file from the future says nothing: its clock was another.
		if age := c.WallNS - m.mtimeNS; age >= 0 {
			w.sign(c.Boot - time.Duration(age))
		}
	}
	w.seen, w.last = true, m
}

// missing judges a file that is not there. For a moment (a log being rotated)
// it has merely not changed; its coming back is a change.
func (w *watch) missing(now, within time.Duration) string {
	w.seen, w.last = true, mark{}
	if !w.known {
		return missing
	}
	if reason := w.stale(now, within); reason != "" {
		return missing + ", " + reason
	}
	return ""
}

// fileProbe is -fresh for any file.
type fileProbe struct {
	path   string
	within time.Duration
	watch  watch
}

func (p *fileProbe) renew(now time.Duration) { p.watch.renew(now) }

func (p *fileProbe) check() error { return refuseWritable(p.path) }

func (p *fileProbe) look(clock func() Clock, _ time.Duration) string {
	var st syscall.Stat_t
	err := syscall.Stat(p.path, &st)
	c := clock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.watch.missing(c.Boot, p.within)
	case err != nil:
		return err.Error()
	case st.Mode&othersWrite != 0:
		return worldWritable
	}
	p.watch.observe(markOf(&st), c, true)
	return p.watch.stale(c.Boot, p.within)
}

func markOf(st *syscall.Stat_t) mark {
	return mark{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano()}
}

// beatProbe is -fresh for a heartbeat ID.hb.
type beatProbe struct {
	path   string
	within time.Duration
	dir    *rundir.Dir
	beat   beat
}

func (p *beatProbe) renew(now time.Duration) { p.beat.renew(now) }

func (p *beatProbe) check() error {
	_, _, err := p.read()
	rej, rejected := errors.AsType[*heartbeat.Reject](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, rundir.ErrUntrusted):
		return err
	case rejected && (rej.Reason == heartbeat.Writable || rej.Reason == heartbeat.ForeignOwner):
		return fmt.Errorf("%s: heartbeat: %w", p.path, err)
	}
	return nil
}

func (p *beatProbe) read() (heartbeat.Record, rundir.Info, error) {
	if p.dir != nil && p.dir.Gone() {
		_ = p.dir.Close()
		p.dir = nil
	}
	if p.dir == nil {
		dir, err := rundir.Open(path.Dir(p.path))
		if err != nil {
			return heartbeat.Record{}, rundir.Info{}, err
		}
		p.dir = dir
	}
	return heartbeat.Read(p.dir, path.Base(p.path))
}

func (p *beatProbe) look(clock func() Clock, grace time.Duration) string {
	if p.beat.boot == "" {
		id, err := boottime.ID()
		if err != nil {
			return cause(err)
		}
		p.beat.boot = id
	}
	r, info, err := p.read()
	c := clock()
	rej, rejected := errors.AsType[*heartbeat.Reject](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.beat.watch.missing(c.Boot, p.within)
	case rejected:
		return "rejected: " + rej.Error()
	case err != nil:
		return cause(err)
	}
	return p.beat.judge(r, mark{info.Dev, info.Ino, info.Size, info.ModTime.UnixNano()}, c, p.within, grace)
}

// beat is the memory of one heartbeat. Of this boot it is judged by bt_ms; of
// another boot or of a foreign sender, by observed change.
type beat struct {
	boot  string
	watch watch
	last  int64         // greatest bt_ms seen of this boot
	start time.Duration // when it was first seen starting, in a row; 0 if it is not
}

func (b *beat) renew(now time.Duration) {
	b.watch.renew(now)
	b.start = 0
}

func (b *beat) judge(r heartbeat.Record, m mark, c Clock, within, grace time.Duration) string {
	// Judged is only what no hold excuses. Who says held here stands in for somebody
	// under a hold that is not seen: no sign of life, but no fault either. For a while
	// after its end, or before this side has seen its beginning, that is as it should be.
	standIn := r.Status == heartbeat.Held
	if !r.Foreign && r.Boot == b.boot {
		bt := time.Duration(r.BTMS) * time.Millisecond
		switch {
		case bt > c.Boot+time.Second: // a second of slack: bt_ms may be rounded, clocks read apart
			return "rejected: " + heartbeat.Future.String()
		case r.BTMS < b.last:
			return "rejected: " + heartbeat.Replayed.String()
		}
		b.last = r.BTMS
		if !standIn {
			b.watch.sign(bt)
		}
		b.watch.seen, b.watch.last = true, m
	} else if standIn {
		b.watch.seen, b.watch.last = true, m
	} else {
		// What lies on a disk from before the reboot may look recent by a wall
		// clock that is wrong: only a foreign beat is believed at first sight.
		b.watch.observe(m, c, r.Foreign)
	}
	if reason := b.watch.stale(c.Boot, within); reason != "" {
		if standIn {
			return "status held, but no hold is seen: " + reason
		}
		return reason
	}
	if r.Status != heartbeat.Starting {
		b.start = 0
	} else if b.start == 0 {
		b.start = c.Boot
	}
	switch r.Status {
	case heartbeat.Starting:
		if took := c.Boot - b.start; took >= grace {
			return fmt.Sprintf("status starting for %s", round(took))
		}
	case heartbeat.Error, heartbeat.Stopping:
		return "status " + r.Status.String()
	}
	return ""
}
