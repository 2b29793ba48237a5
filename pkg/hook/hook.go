// Package hook runs one executable, when something has changed or to hear what it
// says, in a bare environment and for a limited time.
//
// A hook gets nothing that a stranger chose: no arguments, no shell, no
// inherited variables or descriptors, no real-time priority, a fixed PATH. For
// each key (an id) one run is going on and at most one waits; what happens
// meanwhile is merged into the one that waits, so that a slow hook falls behind
// by one run, not by a queue.
package hook

import (
	"errors"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"vigil/pkg/fmt"
)

// Path is the search path that every hook gets.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// killAfter is the time between TERM and KILL.
const killAfter = 2 * time.Second

// ErrRefused is reported for a file that is there, but is not one to run.
var ErrRefused = errors.New("not a hook")

// ErrStart is reported for a run that did not begin.
var ErrStart = errors.New("start")

// Answer is what a run has come to.
type Answer struct {
	Status int   // that it exited with, where Err is nil
	Err    error // it did not begin (ErrStart), was ended by a signal, or had no time left
	Took   time.Duration
}

// Fault says in what a run differs from a good one, or "".
func (a Answer) Fault() string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.Status != 0:
		return fmt.Sprintf("exit status %d", a.Status)
	}
	return ""
}

// Config says what to run and how.
type Config struct {
	Program string        // absolute, as Check gives it
	Timeout time.Duration // of one run, until TERM; time that this process itself stood still hardly counts
	Jobs    int           // runs at the same time, over all keys
	Env     []string      // variables that every run gets besides PATH
	Keep    string        // of merged runs this variable keeps the value of the first

	// Output becomes standard output and standard error of the hook.
	Output *os.File
	// Warn hears of each run that did not end well. It is called from several
	// goroutines.
	Warn func(text string)
	// Answered, if set, hears of every run instead: when it has ended, or else at its
	// time limit, before anything is done about it.
	Answered func(key string, a Answer)
}

// Check gives the absolute path of a program that may serve as a hook: a
// regular file, executable for this process and not writable for everybody.
// The error matches fs.ErrNotExist or ErrRefused where the configuration is
// wrong.
func Check(program string) (string, error) {
	name := program
	if !strings.HasPrefix(name, "/") {
		dir, err := syscall.Getwd()
		if err != nil {
			return "", err
		}
		name = dir + "/" + name
	}
	name = path.Clean(name)
	regular, open, err := kind(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: hook: %w", name, err)
	case !regular:
		return "", fmt.Errorf("%s: want a regular file: %w", name, ErrRefused)
	case open:
		return "", fmt.Errorf("%s: everybody may write it: %w", name, ErrRefused)
	case !executable(name):
		return "", fmt.Errorf("%s: want an executable file: %w", name, ErrRefused)
	}
	return name, nil
}

// Runner runs hooks. Its methods may be called concurrently.
type Runner struct {
	cfg     Config
	mu      sync.Mutex
	keys    map[string]*queue // those with a run going on or waiting
	waiting []string          // keys whose run waits for a free job, first come first
	jobs    int               // going on
	closed  bool
	left    bool          // Close does not wait any more
	stop    chan struct{} // closed when runs are to end at once
	idle    *sync.Cond    // signalled when a job ends
}

// queue is what one key has to do.
type queue struct {
	running bool
	pending bool     // a run waits
	next    []string // its variables
}

// New makes a runner. All descriptors from 3 that the process has inherited are
// marked close-on-exec, so that no run gets one.
func New(cfg Config) *Runner {
	closeOnExec()
	r := &Runner{cfg: cfg, keys: map[string]*queue{}, stop: make(chan struct{})}
	r.idle = sync.NewCond(&r.mu)
	return r
}

// Submit asks for a run with these variables ("NAME=value") and returns at
// once. The runner keeps vars. After Close nothing runs any more.
func (r *Runner) Submit(key string, vars []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	q := r.keys[key]
	if q == nil {
		q = &queue{}
		r.keys[key] = q
	}
	if q.pending {
		q.next = merge(q.next, vars, r.cfg.Keep)
		return
	}
	q.pending, q.next = true, vars
	if !q.running {
		r.waiting = append(r.waiting, key)
		r.dispatch()
	}
}

// merge gives later with the variable keep as it stands in first.
func merge(first, later []string, keep string) []string {
	for _, old := range first {
		if name, _, _ := strings.Cut(old, "="); name == keep {
			for i, v := range later {
				if strings.HasPrefix(v, keep+"=") {
					later[i] = old
				}
			}
		}
	}
	return later
}

// dispatch starts what may start. r.mu is held.
func (r *Runner) dispatch() {
	for !r.closed && r.jobs < r.cfg.Jobs && len(r.waiting) > 0 {
		key := r.waiting[0]
		r.waiting = r.waiting[1:]
		q := r.keys[key]
		vars := q.next
		q.running, q.pending, q.next = true, false, nil
		r.jobs++
		go r.job(key, vars)
	}
}

func (r *Runner) job(key string, vars []string) {
	r.run(vars, func(a Answer) {
		if r.cfg.Answered != nil {
			r.cfg.Answered(key, a)
		} else if fault := a.Fault(); fault != "" {
			r.cfg.Warn(fmt.Sprintf("%s: hook for %s: %s", r.cfg.Program, key, fault))
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs--
	q := r.keys[key]
	q.running = false
	if q.pending {
		r.waiting = append(r.waiting, key)
	} else {
		delete(r.keys, key)
	}
	r.dispatch()
	r.idle.Broadcast()
}

// Close waits for at most wait until what was asked for is done. What still
// runs then gets TERM, and KILL two seconds later; the number of runs that
// were never started is returned. Nothing of the runner is left afterwards, but for
// a process that even KILL does not end. Call it once, after the last Submit.
func (r *Runner) Close(wait time.Duration) (dropped int) {
	limit := time.AfterFunc(wait, func() { r.abort(false) })
	defer limit.Stop()
	// Short of an overflow: who waits for ever has time for nothing more.
	last := time.AfterFunc(max(wait, wait+3*killAfter), func() { r.abort(true) })
	defer last.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && r.jobs > 0 {
		r.idle.Wait()
	}
	r.closed = true
	for r.jobs > 0 && !r.left {
		r.idle.Wait()
	}
	return r.dropped()
}

// abort ends what runs and lets nothing new begin; leave ends the waiting for it, too.
func (r *Runner) abort(leave bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.stop)
	}
	r.left = leave
	r.idle.Broadcast()
}

// dropped counts the keys whose run never began. r.mu is held.
func (r *Runner) dropped() (n int) {
	for _, q := range r.keys {
		if q.pending {
			n++
		}
	}
	return n
}
