// Package ptrace stops all threads of a process for a moment, lets their
// registers be read, and lets them go as they were: a thread that was about to
// get a signal gets it, a process that was stopped stays stopped.
//
// It attaches with PTRACE_SEIZE, which sends no signal, and sets no option, so
// that the kernel itself releases the target when the tracing thread ends, in
// whatever way: a killed tool does not leave a stopped service behind.
//
// The kernel ties a tracee to one thread of the tracer. All calls belong into
// the function given to Run; nothing here is safe for concurrent use.
//
// Source: ptrace(2), kernel/ptrace.c and kernel/signal.c of Linux 6.12.
package ptrace

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// A thread in uninterruptible sleep ("D": a hanging disk, a parent in vfork)
// cannot be stopped. All others stand still meanwhile, so it is given up soon;
// a thread that only waits for a CPU is waited for much longer.
const (
	sleeperLimit = 100 * time.Millisecond
	spin         = 2 * time.Millisecond // of yielding before the waiter starts to sleep
)

// Run calls f on an operating system thread of its own and waits for the end of
// both. With the thread ends what f could not release: a thread that was seized
// but never came to a stop can only be let go by the end of its tracer.
func Run(f func() error) error {
	done := make(chan error, 1)
	tid := make(chan int, 1)
	go onThread(f, done, tid)
	err := <-done
	// By the time the id is free, the kernel has released its tracees.
	self, id := unix.Getpid(), <-tid
	for w := begin(); unix.Tgkill(self, id, 0) == nil && w.spent() < time.Second; {
		time.Sleep(50 * time.Microsecond)
	}
	return err
}

// waited is for how long something was waited for. It counts no more than lookMost
// between two looks: where this program did not get to look, because the machine
// stood or all its processors were wanted, the target did not get to do it either.
type waited struct {
	last time.Time
	sum  time.Duration
}

const lookMost = 20 * time.Millisecond

func begin() waited { return waited{last: time.Now()} }

func (w *waited) spent() time.Duration {
	now := time.Now()
	w.sum += min(now.Sub(w.last), lookMost)
	w.last = now
	return w.sum
}

func onThread(f func() error, done chan<- error, tid chan<- int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread does not end before the process. While this
		// goroutine occupies it, the next one must get another.
		other := make(chan error, 1)
		go onThread(f, other, tid)
		done <- <-other
		runtime.UnlockOSThread()
		return
	}
	tid <- unix.Gettid()
	done <- f()
}

// Session is a seized process.
type Session struct {
	pid     int
	threads []*Thread
	known   map[int]*Thread
	began   time.Time
	waited  waited
	pause   time.Duration
	adopted bool // its new threads are traced from their birth
}

// Thread is one seized thread.
type Thread struct {
	TID int

	// Signal is the signal whose delivery the stop interrupted (it is
	// delivered at the release) or, for a thread of a process in group-stop, the
	// one that stopped it; else 0.
	Signal unix.Signal

	state   state
	deliver unix.Signal
	trapped bool // by PTRACE_INTERRUPT and nothing else

	again []unix.Signal // were swallowed by a call; to be sent again
	slow  func()        // is told when a call takes too long
}

type state int

const (
	seized state = iota
	stopped
	missed // would not stop in time
	gone
)

// LeftOut is a thread that did not stop.
type LeftOut struct {
	TID   int
	State byte // of proc(5), "D" as a rule
}

// Seize attaches to every thread of pid without stopping any. The error is
// unix.EPERM (errors.Is) when the kernel forbids it or somebody else traces the
// process, fs.ErrNotExist when it is gone. After an error nothing stays
// attached beyond the end of Run.
func Seize(pid int) (*Session, error) {
	s := &Session{pid: pid, known: make(map[int]*Thread)}
	for {
		added, err := s.seizeNew()
		if err != nil {
			return nil, err
		}
		if added == 0 {
			break
		}
	}
	if len(s.threads) == 0 {
		return nil, fmt.Errorf("pid %d: no live thread: %w", pid, fs.ErrNotExist)
	}
	return s, nil
}

func (s *Session) seizeNew() (added int, err error) {
	tids, err := procfs.Tasks(s.pid)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		if s.known[tid] != nil {
			continue
		}
		err := unix.PtraceSeize(tid)
		switch {
		case errors.Is(err, unix.ESRCH):
			continue
		case errors.Is(err, unix.EPERM) && s.dead(tid):
			continue
		case errors.Is(err, unix.EPERM) && s.adopted:
		case err != nil:
			return added, fmt.Errorf("pid %d: seize thread %d: %w", s.pid, tid, err)
		}
		t := &Thread{TID: tid}
		s.known[tid] = t
		s.threads = append(s.threads, t)
		added++
	}
	return added, nil
}

// dead says whether the thread is a zombie: the first thread of a process
// stays one while others live, and cannot be seized.
func (s *Session) dead(tid int) bool {
	st, err := procfs.ReadTaskStat(s.pid, tid)
	return err != nil || st.State == 'Z' || st.State == 'X'
}

// Stop brings all threads to a halt, those included that appear meanwhile, and
// waits for a running thread at most limit. Threads that do not stop are in
// LeftOut; an error means that none stopped.
func (s *Session) Stop(limit time.Duration) error {
	s.began, s.waited = time.Now(), begin()
	for {
		for _, t := range s.threads {
			if t.state == seized {
				// ESRCH: it ended; the wait will tell.
				unix.PtraceInterrupt(t.TID)
			}
		}
		s.wait(limit)
		added, err := s.seizeNew()
		if err != nil {
			return err
		}
		if added == 0 {
			break
		}
	}
	// The first thread of the process first, as debuggers expect it.
	sort.Slice(s.threads, func(i, j int) bool { return s.threads[i].TID < s.threads[j].TID })
	if i := slices.IndexFunc(s.threads, func(t *Thread) bool { return t.TID == s.pid }); i > 0 {
		leader := s.threads[i]
		copy(s.threads[1:i+1], s.threads[:i])
		s.threads[0] = leader
	}
	if len(s.Threads()) == 0 {
		return fmt.Errorf("pid %d: no thread could be stopped", s.pid)
	}
	return nil
}

// wait collects the stops. It asks for each thread by its id: a wait for any
// child would steal those of the rest of the program.
func (s *Session) wait(limit time.Duration) {
	for {
		running := 0
		for _, t := range s.threads {
			if t.state == seized && !t.poll() {
				running++
			}
		}
		if running == 0 {
			return
		}
		spent := s.waited.spent()
		if spent > sleeperLimit {
			s.giveUp(spent > limit)
		}
		if spent < spin {
			runtime.Gosched()
		} else {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// giveUp leaves out the threads in uninterruptible sleep or, when all is set,
// each that has not stopped.
func (s *Session) giveUp(all bool) {
	for _, t := range s.threads {
		if t.state != seized || t.poll() {
			continue
		}
		st, err := procfs.ReadTaskStat(s.pid, t.TID)
		if all || err == nil && st.State == 'D' {
			t.state = missed
		}
	}
}

// poll notes a stop or an end of the thread and says whether there was one.
func (t *Thread) poll() bool {
	var ws unix.WaitStatus
	tid, err := unix.Wait4(t.TID, &ws, unix.WALL|unix.WNOHANG, nil)
	switch {
	case errors.Is(err, unix.EINTR) || err == nil && tid == 0:
		return false
	case err != nil || !ws.Stopped():
		t.state = gone
		return true
	}
	t.state = stopped
	sig := ws.StopSignal()
	switch {
	case ws>>16 == 0: // signal-delivery-stop
		t.Signal, t.deliver = sig, sig
	case sig == unix.SIGTRAP:
		t.trapped = true
	default: // group-stop; a detach keeps it
		t.Signal = sig
	}
	return true
}

// Threads returns the stopped threads, the first thread of the process first.
func (s *Session) Threads() []*Thread {
	var ts []*Thread
	for _, t := range s.threads {
		if t.state == stopped {
			ts = append(ts, t)
		}
	}
	return ts
}

// LeftOut returns the threads that did not stop in time.
func (s *Session) LeftOut() []LeftOut {
	var out []LeftOut
	for _, t := range s.threads {
		if t.state == missed {
			st, _ := procfs.ReadTaskStat(s.pid, t.TID)
			out = append(out, LeftOut{t.TID, st.State})
		}
	}
	return out
}

// Release lets all threads go. A second call does nothing.
func (s *Session) Release() { s.releaseBut(nil) }

// releaseBut keeps one thread.
func (s *Session) releaseBut(kept *Thread) {
	for _, t := range s.threads {
		if t != kept {
			t.release(s.pid)
		}
	}
	s.threads = nil
	if kept != nil {
		s.threads = []*Thread{kept}
	}
	if !s.began.IsZero() {
		s.pause = time.Since(s.began)
		s.began = time.Time{}
	}
}

func (t *Thread) release(pid int) {
	if t.state == missed {
		t.state = seized
		t.poll() // it may have stopped late
	}
	if t.state != stopped {
		return
	}
	if t.trapped {
		t.restartWait()
	}
	// ESRCH: it was killed meanwhile.
	ptrace(unix.PTRACE_DETACH, t.TID, 0, uintptr(t.deliver))
	t.state = gone
	for _, sig := range t.again {
		unix.Kill(pid, sig)
	}
}

// Pause is how long the target stood, from the first attempt to stop it to the
// release; 0 before that.
func (s *Session) Pause() time.Duration { return s.pause }

// Linger asks for long time slices for the calling thread, until back is called:
// whoever wakes up beside it, as a thread of the target, has the nearer deadline and
// goes first. Its share of the processors stays what it is, and so does its priority,
// which it could not get back. That is so from Linux 6.12 on (__setparam_fair and
// PREEMPT_SHORT of kernel/sched/fair.c); before, nothing changes. The goroutine must
// be bound to its thread.
func Linger() (back func()) {
	const longest = 100_000_000 // ns
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil || was.Policy != unix.SCHED_NORMAL {
		return func() {}
	}
	now := *was
	now.Runtime = longest
	if unix.SchedSetAttr(0, &now, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetAttr(0, was, 0) }
}

// Hurry raises the priority of the calling thread, where that is allowed, until
// calm is called: a target that stands waits for nothing but this program. The
// goroutine must be bound to its thread.
func Hurry() (calm func()) {
	const urgent = -10
	tid := unix.Gettid()
	before, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, tid, urgent) != nil {
		return func() {}
	}
	// The system call gives 20 - nice.
	return func() { _ = unix.Setpriority(unix.PRIO_PROCESS, tid, 20-before) }
}
