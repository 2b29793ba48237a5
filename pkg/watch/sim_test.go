package watch

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
)

const (
	thisBoot = "11111111111111111111111111111111"
	lastBoot = "22222222222222222222222222222222"
	thatBoot = "33333333333333333333333333333333"
)

// sim is a Watcher in a simulated world: its clock moves only when the
// Watcher sleeps or somebody says so.
type sim struct {
	*Watcher
	t      *testing.T
	clock  time.Duration // CLOCK_BOOTTIME
	step   time.Duration // of the wall clock, against it
	slept  time.Duration // suspended
	files  map[string]*simFile
	beats  []*simSender
	events []Event
	polls  int
	reads  int // of files
	stats  int
	during func(id string) // called before each read
	leases map[string]hold.Lease
	known  map[string]hold.Lease // that Refresh has told
	warned []string
}

// simFile is what lies in the directory.
type simFile struct {
	rec  heartbeat.Record
	info rundir.Info
	err  error
}

// simSender beats on its own.
type simSender struct {
	rec    heartbeat.Record
	next   time.Duration
	jitter func() time.Duration
	dead   bool
}

func (s *sim) Refresh(now time.Duration) (changes []hold.Change, err error) {
	s.polls++
	for _, id := range sortedKeys(s.known) {
		if l, ok := s.leases[id]; !ok || l.Nonce != s.known[id].Nonce || now >= ms(l.UntilMS) {
			changes = append(changes, hold.Change{Kind: hold.Ended, Lease: s.known[id]})
			delete(s.known, id)
		}
	}
	for _, id := range sortedKeys(s.leases) {
		l := s.leases[id]
		if _, ok := s.known[id]; !ok && now < ms(l.UntilMS) {
			changes = append(changes, hold.Change{Kind: hold.Began, Lease: l, Left: ms(l.UntilMS) - now})
			s.known[id] = l
		}
	}
	return changes, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (s *sim) Active(id string, now time.Duration) (hold.Lease, bool) {
	for _, key := range []string{id, hold.Host} {
		if l, ok := s.known[key]; ok && now < ms(l.UntilMS) {
			return l, true
		}
	}
	return hold.Lease{}, false
}

func (s *sim) Close() error { return nil }

func (s *sim) Warn(msg string, _ ...any) { s.warned = append(s.warned, msg) }

// begin starts a watcher an hour after the boot, with files in place.
func begin(t *testing.T, change func(*Options), place func(*sim)) *sim {
	t.Helper()
	s := &sim{
		t: t, clock: time.Hour, files: map[string]*simFile{},
		leases: map[string]hold.Lease{}, known: map[string]hold.Lease{},
	}
	opt := Options{
		Config: Config{Boot: thisBoot, TTLMax: time.Hour, TimeoutMax: 10 * time.Minute, StoppedMax: 5 * time.Minute},
		Emit:   func(ev Event) { s.events = append(s.events, ev) },
		Log:    s,
	}
	if change != nil {
		change(&opt)
	}
	s.Watcher = &Watcher{
		opt: opt, holds: s,
		now:       func() time.Duration { return s.clock },
		suspended: func() time.Duration { return s.slept },
		wall:      s.wallNow,
		soon:      func() time.Duration { return s.clock },
		fetch: func(e *entry, l *Look) {
			s.reads++
			if s.during != nil {
				s.during(e.id)
			}
			l.Record, l.Info, l.Err = heartbeat.Record{}, rundir.Info{}, fs.ErrNotExist
			if f := s.files[e.id]; f != nil {
				l.Record, l.Info, l.Err = f.rec, f.info, f.err
			}
		},
		stat: func(e *entry, l *Look) {
			s.stats++
			if s.during != nil {
				s.during(e.id)
			}
			l.Info, l.Err = rundir.Info{}, fs.ErrNotExist
			if f := s.files[e.id]; f != nil {
				l.Info, l.Err = f.info, nil
			}
		},
	}
	s.start()
	if place != nil {
		place(s)
	}
	s.discover()
	s.tick(true)
	return s
}

// wallNow is the wall clock, steps included.
func (s *sim) wallNow() time.Time { return time.Unix(1763820000, 0).Add(s.clock + s.step) }

// discover is what scanning a directory would do.
func (s *sim) discover() {
	for _, id := range sortedKeys(s.files) {
		if key, ok := s.core.key(id); !ok {
			s.core.New(id, noSource, false, s.clock)
		} else if s.core.entries[key].missing {
			s.core.Hurry(key)
		}
	}
}

// write puts a record into the file of its id, as of now.
func (s *sim) write(rec heartbeat.Record) {
	f := s.files[rec.ID]
	if f == nil {
		f = &simFile{info: rundir.Info{Ino: uint64(len(s.files) + 1), Size: 512}}
		s.files[rec.ID] = f
	}
	f.rec, f.err, f.info.ModTime = rec, nil, s.wallNow()
}

// spoil makes reading the file of id give an error.
func (s *sim) spoil(id string, reason heartbeat.Reason) {
	if s.files[id] == nil {
		s.write(s.record(id))
	}
	s.files[id].err = &heartbeat.Reject{Reason: reason, Detail: "spoilt"}
	s.files[id].info.ModTime = s.wallNow()
}

// record is a beat of now, with an interval of 1 s. Its seq says that there
// were some before.
func (s *sim) record(id string) heartbeat.Record {
	r := heartbeat.Record{ID: id, PID: 42, Boot: thisBoot, Seq: 100, BTMS: s.clock.Milliseconds(), IntervalMS: 1000, CRC: true}
	if f := s.files[id]; f != nil {
		r.Seq = f.rec.Seq + 1
	}
	return r
}

func (s *sim) beat(id string, change func(*heartbeat.Record)) {
	r := s.record(id)
	if change != nil {
		change(&r)
	}
	s.write(r)
	s.discover()
}

// foreignBeat writes a beat without times.
func (s *sim) foreignBeat(id string) {
	seq := uint64(1)
	if f := s.files[id]; f != nil {
		seq = f.rec.Seq + 1
	}
	s.write(heartbeat.Record{Foreign: true, ID: id, Seq: seq})
	s.discover()
}

// sender starts one that beats every interval and a little.
func (s *sim) sender(id string, interval time.Duration) *simSender {
	n := &simSender{rec: s.record(id), next: s.clock, jitter: func() time.Duration { return 0 }}
	n.rec.IntervalMS = interval.Milliseconds()
	s.beats = append(s.beats, n)
	s.move(0)
	s.discover()
	return n
}

// move lets d pass, in which the senders beat, and the watcher does nothing.
func (s *sim) move(d time.Duration) {
	end := s.clock + d
	for {
		n := slices.MinFunc(append(s.beats, &simSender{next: end + 1}), func(a, b *simSender) int { return cmp.Compare(a.next, b.next) })
		if n.next > end {
			break
		}
		s.clock = max(s.clock, n.next)
		n.next += ms(n.rec.IntervalMS) + n.jitter()
		if !n.dead {
			n.rec.Seq++
			n.rec.BTMS = s.clock.Milliseconds()
			s.write(n.rec)
		}
	}
	s.clock = end
}

// freeze lets d pass in which nobody runs at all; then the senders beat at once.
func (s *sim) freeze(d time.Duration) {
	s.clock += d
	for _, n := range s.beats {
		n.next = max(n.next, s.clock)
	}
}

// run lets d pass with the watcher at work.
func (s *sim) run(d time.Duration) {
	s.t.Helper()
	end := s.clock + d
	for s.clock < end {
		until := min(max(s.wake(), s.clock+time.Millisecond), end)
		s.move(until - s.clock)
		if until == end && s.wake() > end {
			return
		}
		s.awake(until)
	}
}

// awake lets the watcher wake up at the clock's time, that it had planned for.
func (s *sim) awake(planned time.Duration) {
	s.lap(planned)
	s.tick(false)
}

// log gives the events since the last call, in brief.
func (s *sim) log() []string {
	var lines []string
	for _, ev := range s.events {
		switch ev.Kind {
		case Transition:
			lines = append(lines, fmt.Sprintf("%s %s>%s %s", ev.ID, ev.From, ev.To, ev.Reason))
		case LocalStall:
			lines = append(lines, fmt.Sprintf("%s %s", ev.Kind, ev.Reason))
		default:
			lines = append(lines, fmt.Sprintf("%s %s %s", ev.Kind, ev.ID, ev.Reason))
		}
	}
	s.events = nil
	return lines
}

// expect compares the events since the last look.
func (s *sim) expect(want ...string) {
	s.t.Helper()
	if got := s.log(); !slices.Equal(got, want) {
		s.t.Errorf("at %v\nhave %q\nwant %q", s.clock-time.Hour, got, want)
	}
}

// after lets time pass until something happens, within a slot or so of d.
func (s *sim) after(d time.Duration, want ...string) {
	s.t.Helper()
	s.run(d - 2*time.Millisecond)
	if len(s.events) > 0 {
		s.t.Errorf("at %v, earlier than %v: %q", s.clock-time.Hour, d, s.log())
	}
	s.run(102 * time.Millisecond)
	s.expect(want...)
}

// state gives what the watcher thinks of id.
func (s *sim) state(id string) State { return s.core.entry(id).state }
