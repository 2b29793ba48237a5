package watch

import (
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
)

const (
	// napMost bounds how long nothing is looked at: new files, holds.
	napMost = time.Second
	// tidyAfter the start, what the first events needed is given back.
	tidyAfter = 5 * time.Second
	// noSource stands for an expected id of which no file was seen yet.
	noSource = -1
)

// Options says what to watch, and who hears of it.
type Options struct {
	Config
	Paths  []string       // directories, or files ID.hb, which are expected
	Expect []string       // ids that are expected in any of the directories
	Owners map[string]int // uid that may own the file of an id, besides root and this process's
	Key    string         // file with a key, or directory of ID.key, that signs all records; "" for none
	Bare   bool           // any file is a heartbeat that somebody touches

	Hold    string // directory of holds; "" for none
	HoldMax time.Duration
	Tool    string // by which name holds are acknowledged

	Memory string // file in which to remember over a restart; "" for none

	Emit func(Event) // must not block
	// Confirm, if any, is asked for a second opinion on who is about to be found dead,
	// by the event that would tell it. It must not block; the answer goes to
	// Watcher.Answer.
	Confirm func(w *Watcher, ev Event)
	// Heard, if any, is told of each beat taken, with bt_ms or when it was seen.
	// Ticked, if any, is called after each sweep: at that time, it took so long.
	// Neither may block.
	Heard  func(id string, at time.Duration, seq uint64)
	Ticked func(w *Watcher, now, took time.Duration)
	Ready  func() error // called once, after everything was looked at once
	Log    Log
}

// holdReader is a *hold.Reader, or none.
type holdReader interface {
	Holds
	Refresh(now time.Duration) ([]hold.Change, error)
	Close() error
}

// Watcher reads directories and lets a Core judge. Use it from one goroutine:
// either Run or Check.
type Watcher struct {
	opt     Options
	core    *Core
	sources []*source
	holds   holdReader
	fault   string // of the holds, that was told
	doubles map[string]bool
	memory  *memory  // or nil
	keys    *keyring // or nil
	answers answers

	// The world, for tests to simulate.
	now       func() time.Duration
	suspended func() time.Duration
	soon      func() time.Duration // as now, but blind to a suspend since now was called last
	wall      func() time.Time
	fetch     func(e *entry, l *Look) // reads the file
	stat      func(e *entry, l *Look) // asks what it is

	clock    boottime.Clock
	reader   heartbeat.Reader
	granted  heartbeat.Terms // to the file being read
	seen     Look            // what it gave
	last     time.Duration   // when the clock was read last
	zero     time.Time       // what a wall clock would have shown at boot, by what it showed last
	slept    time.Duration   // suspended until then
	polled   time.Duration   // when the holds were looked at last
	surveyed time.Duration
	stalls   int
}

// Open opens the directories. An error names the one that cannot be trusted,
// and the rule. The caller closes the Watcher.
func Open(opt Options) (*Watcher, error) {
	w := &Watcher{opt: opt, suspended: boottime.Suspended, wall: time.Now}
	w.now, w.soon = w.clock.Now, w.clock.Soon
	w.fetch, w.stat = w.readFile, w.statFile
	var err error
	if w.opt.Boot, err = boottime.ID(); err != nil {
		return nil, err
	}
	if w.sources, err = openSources(opt.Paths, opt.Bare); err != nil {
		return nil, err
	}
	if opt.Hold != "" {
		tool := opt.Tool
		if opt.Once {
			tool = "" // a check that does not stay can promise nothing
		}
		holds, err := hold.NewReader(opt.Hold, tool, opt.HoldMax)
		if err != nil {
			w.Close()
			return nil, err
		}
		w.holds = holds
	}
	if opt.Key != "" {
		w.opt.Signed = true
		if w.keys, err = openKeys(opt.Key); err != nil {
			w.Close()
			return nil, err
		}
	}
	if opt.Memory != "" {
		if w.memory, err = openMemory(opt.Memory, w.opt.Boot, opt.Log); err != nil {
			w.Close()
			return nil, err
		}
	}
	w.start()
	return w, nil
}

// start sets the clocks going.
func (w *Watcher) start() {
	w.doubles = map[string]bool{}
	w.last, w.slept = w.now(), w.suspended()
	w.core = NewCore(w.opt.Config, w.holds, w.last, w.emit)
	w.core.heard = w.opt.Heard
	w.answers.ready = make(chan struct{}, 1)
	if w.opt.Confirm != nil {
		w.core.ask = func(ev Event) { w.opt.Confirm(w, w.place(ev)) }
		w.core.tell = w.opt.Log.Warn
	}
	if w.memory != nil {
		entries, at := w.memory.load(w.last)
		w.core.recall(entries, at, w.last)
		w.memory.saved = w.last
	}
	for i, s := range w.sources {
		for _, name := range s.named {
			id, bare, _ := s.identify(name)
			w.add(id, bare, int32(i), true)
		}
	}
	for _, id := range w.opt.Expect {
		w.add(id, false, noSource, true)
	}
}

// Close closes the directories.
func (w *Watcher) Close() {
	for _, s := range w.sources {
		_ = s.dir.Close()
	}
	if w.holds != nil {
		_ = w.holds.Close()
	}
	if w.memory != nil {
		w.memory.Close()
	}
}

// Run watches until done is closed.
func (w *Watcher) Run(done <-chan struct{}) error {
	alarm, err := boottime.NewAlarm(done, w.answers.ready)
	if err != nil {
		return err
	}
	w.tick(true)
	if err := w.opt.Ready(); err != nil {
		return err
	}
	// The first look leaves the most garbage. And Go collects every two minutes,
	// but only after a first time: until then an idle watcher would grow.
	debug.FreeOSMemory()
	tidy := w.last + tidyAfter
	for {
		until := w.wake()
		for now, rung := w.now(), false; now < until && !rung; now = w.now() {
			rung = alarm.Sleep(until - now)
		}
		select {
		case <-done:
			w.remember(true)
			return nil
		default:
		}
		w.lap(until)
		w.consult()
		w.tick(false)
		if tidy > 0 && w.last >= tidy {
			debug.FreeOSMemory()
			tidy = 0
		}
	}
}

// wake is when there is something to do again. It is never later than a stall
// of this process may be long without being noticed.
func (w *Watcher) wake() time.Duration {
	until := w.last + min(napMost, w.core.Guard())
	if next, ok := w.core.Next(); ok {
		until = min(until, next)
	}
	return until
}

// lap reads the clock. It should read little more than planned: else this
// process did not run, and who knows who else.
func (w *Watcher) lap(planned time.Duration) time.Duration {
	w.last = planned
	now := w.now()
	w.zero = w.wall().Add(-now)
	return w.step(now)
}

// step takes in a reading of the clock after w.last.
func (w *Watcher) step(now time.Duration) time.Duration {
	if gap := now - w.last; gap > w.core.Guard() {
		reason := "stall"
		slept := w.suspended()
		if slept-w.slept > gap/2 {
			reason = "suspend"
		}
		w.slept = slept
		w.stalls++
		w.core.Stall(now, gap, reason)
	}
	w.last = now
	return now
}

// tick does what is due: directories, holds, then files.
func (w *Watcher) tick(all bool) {
	defer w.ticked(w.last)
	if w.holds != nil && (all || w.last-w.polled >= napMost-schedGrain) {
		w.poll()
	}
	for i := range w.sources {
		w.scan(int32(i), all)
	}
	if all || w.last-w.surveyed >= scanEvery {
		w.surveyed = w.last
		w.core.Survey()
	}
	urgent, rest := w.core.Due(w.last)
	w.visit(urgent)
	w.visit(rest)
	w.remember(false)
}

// visit looks at files, then judges: all are read before one is judged, so that a
// stall among the reads counts for all.
func (w *Watcher) visit(due []int32) {
	if len(due) == 0 {
		return
	}
	due = slices.DeleteFunc(due, w.look)
	w.lap(w.last) // a suspend in between was not seen yet
	if w.holds != nil && slices.ContainsFunc(due, w.core.Worsens) {
		w.poll()
	}
	w.core.Brace(due)
	for _, key := range due {
		w.core.Judge(key)
	}
}

// remember saves what is known, if it is time to, or it must be now.
func (w *Watcher) remember(now bool) {
	if w.memory != nil && (now || w.memory.due(w.last)) {
		w.memory.save(w.core.entries, w.last)
	}
}

// schedGrain keeps a poll from slipping to the next wake-up.
const schedGrain = 100 * time.Millisecond

// poll looks at the holds.
func (w *Watcher) poll() {
	w.polled = w.last
	changes, err := w.holds.Refresh(w.now())
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.fault && text != "" {
		w.opt.Log.Warn(text)
	}
	w.fault = text
	now := w.lap(w.last)
	for _, ch := range changes {
		w.core.Hold(ch, now)
	}
}

// changed has the memory saved soon.
func (w *Watcher) changed() {
	if w.memory != nil {
		w.memory.changed = true
	}
}

// emit adds to an event what only the loop knows.
func (w *Watcher) emit(ev Event) {
	switch ev.Kind {
	case Gone:
		w.changed()
		w.bury(w.core.entry(ev.ID))
	case Transition:
		w.changed()
		ev = w.place(ev)
	}
	w.opt.Emit(ev)
}

// place adds where the file lies.
func (w *Watcher) place(ev Event) Event {
	if e := w.core.entry(ev.ID); e.source != noSource {
		ev.File = w.sources[e.source].file(e.name())
		if abs, err := filepath.Abs(ev.File); err == nil {
			ev.File = abs
		}
	}
	return ev
}
