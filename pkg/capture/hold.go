package capture

import (
	"errors"
	"io/fs"
	"runtime/debug"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fmt"
	"vigil/pkg/ptrace"
)

// stopLimit is how long a thread that is ready to run is waited for.
const stopLimit = 2 * time.Second

// moment is what a core tells of the instant of its stop besides memory.
type moment struct {
	threads []thread
	leftOut []ptrace.LeftOut
	time    time.Time
	bootMS  int64
}

// id is a thread of the target that lived at the stop: the files in /proc below
// the id of a first thread that has ended show no memory.
func (m *moment) id() int { return m.threads[0].tid }

func (m *moment) stackPointers() (sps []uint64) {
	for _, th := range m.threads {
		if sp, ok := StackPointer(th.regs[0]); ok {
			sps = append(sps, sp)
		}
	}
	return sps
}

// hold stops all threads, reads their registers and calls f, which may let the
// target go (Session.Release) before it returns; else hold does. It is to be
// called within ptrace.Run. The pause is that of the target.
func (t *Target) hold(f func(s *ptrace.Session, m *moment) error) (pause time.Duration, err error) {
	seize := t.adopt
	if seize == nil {
		seize = func() (*ptrace.Session, error) { return ptrace.Seize(t.PID) }
	}
	s, err := seize()
	if err != nil {
		return 0, t.explain(err)
	}
	defer s.Release()
	if t.process.Exited() {
		return 0, t.gone() // and perhaps another one bears its pid
	}
	// A collection would make the target wait.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer ptrace.Hurry()()
	m := &moment{time: time.Now(), bootMS: boottime.Now().Milliseconds()}
	if err := s.Stop(stopLimit); err != nil {
		return 0, err
	}
	m.leftOut = s.LeftOut()
	if m.threads, err = readThreads(s.Threads()); err != nil {
		return 0, t.threadsLost(err)
	}
	if err := t.became(m.id()); err != nil {
		return 0, err
	}
	err = f(s, m)
	s.Release()
	return s.Pause(), err
}

func (t *Target) threadsLost(err error) error {
	switch {
	case errors.Is(err, errNot64):
		return t.not64()
	case errors.Is(err, fs.ErrNotExist):
		return t.gone()
	}
	return fmt.Errorf("pid %d: %w", t.PID, err)
}

// report begins the report of a capture at m.
func (m *moment) report(pause time.Duration) *Report {
	return &Report{Threads: len(m.threads), LeftOut: m.leftOut, Time: m.time, BootMS: m.bootMS, Pause: pause}
}
