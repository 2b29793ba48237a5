package condition

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/hook"
)

// A program is asked three times in the time for which its answer counts, and
// has two thirds of that to answer: the next one is there before the last
// expires, and who hangs is known in time.
const (
	checkWithin    = 30 * time.Second // where the word does not say
	minCheckWithin = time.Second
)

// checkProbe is -check. The program runs beside everything else, started by its own
// timer: no look waits for it, and how often somebody looks does not matter.
type checkProbe struct {
	id, program string
	within      time.Duration
	now         func() time.Duration // CLOCK_BOOTTIME
	runner      *hook.Runner         // nil before the first look

	mu sync.Mutex
	inquiry
	asked  time.Duration // when the last run was asked for
	paused bool          // under a hold nobody is asked
	closed bool
	heard  chan struct{} // closed by the next answer; nil if nobody waits
}

// inquiry is what is known of a program's answers.
type inquiry struct {
	once    bool // it has said yes at least once
	fresh   bool // it has said yes, and not no, since its clock was renewed
	at      time.Duration
	fault   string        // its last answer, if that was no
	trouble string        // why it could not be asked, if it could not
	renewed time.Duration // what was asked before does not count; 0: never
}

// hear takes in an answer that came at now to a question of since.
func (q *inquiry) hear(a hook.Answer, since, now time.Duration) {
	switch {
	case q.renewed > since:
	case errors.Is(a.Err, hook.ErrStart):
		q.trouble = a.Fault()
	default:
		q.fault, q.trouble, q.at = a.Fault(), "", now
		q.fresh = q.fault == ""
		q.once = q.once || q.fresh
	}
}

// renew forgets what was said before now.
func (q *inquiry) renew(now time.Duration) {
	q.fresh, q.fault, q.trouble, q.renewed = false, "", "", now
}

// judge says why the program is not known to be content. Between two runs its last answer
// stands; only one that cannot be asked any more is not believed for ever.
func (q *inquiry) judge(now, within time.Duration) string {
	switch {
	case q.fault != "":
		return q.fault
	case q.fresh && q.trouble != "" && now-q.at > within:
		return fmt.Sprintf("no answer for %s: %s", round(now-q.at), q.trouble)
	case q.fresh, q.once && now-q.renewed <= 2*within: // a run from before may still go on
		return ""
	case q.trouble != "":
		return q.trouble
	}
	return "no answer yet"
}

func (p *checkProbe) check() (err error) {
	p.program, err = hook.Check(p.program)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, hook.ErrRefused) {
		return cli.Usagef("-check: %v", err)
	}
	return err
}

func (p *checkProbe) look(func() Clock, time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "not asked any more"
	}
	if p.runner == nil {
		p.begin()
	}
	p.paused = false
	if p.asked == 0 {
		p.ask()
	}
	return p.judge(p.now(), p.within)
}

func (p *checkProbe) begin() {
	if p.now == nil {
		p.now = boottime.Now
	}
	cfg := hook.Config{
		Program: p.program, Timeout: (p.within * 2 / 3).Round(time.Millisecond), Jobs: 1, Env: []string{"HB_ID=" + p.id}, Output: os.Stderr,
		Answered: p.answered,
	}
	if dir := os.Getenv("VIGIL_DIR"); dir != "" {
		cfg.Env = append(cfg.Env, "VIGIL_DIR="+dir)
	}
	p.runner = hook.New(cfg)
}

// ask has the program run now. p.mu is held.
func (p *checkProbe) ask() {
	p.asked = p.now()
	p.runner.Submit(p.id, nil)
}

func (p *checkProbe) answered(_ string, a hook.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.hear(a, now-a.Took, now)
	if p.heard != nil {
		close(p.heard)
		p.heard = nil
	}
	if p.closed {
		return
	}
	time.AfterFunc(max(0, p.asked+p.within/3-now), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.asked = 0; !p.paused && !p.closed {
			p.ask()
		}
	})
}

// Await asks the programs of -check and waits for their answers: until each has had
// its time, done is closed, or most is over. Who looks only once, or for the first
// time, has something to look at then. An id that holder excuses is not asked about;
// holder may be nil.
func (s *Set) Await(done <-chan struct{}, most time.Duration, holder Holder) {
	over := make(chan struct{})
	limit := time.AfterFunc(most, func() { close(over) })
	defer limit.Stop()
	for _, e := range s.entries {
		p, ok := e.probe.(*checkProbe)
		if !ok {
			continue
		}
		if holder != nil {
			if _, held := holder.Active(e.id, boottime.Now()); held {
				continue
			}
		}
		heard := make(chan struct{})
		p.mu.Lock()
		p.heard = heard
		p.mu.Unlock()
		p.look(nil, 0)
		select {
		case <-heard:
		case <-over:
			return
		case <-done:
			return
		}
	}
}

// pause lets the program rest under a hold: what it asks may stand in a debugger.
func (p *checkProbe) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = true
}

func (p *checkProbe) renew(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inquiry.renew(now)
}

func (p *checkProbe) close() {
	p.mu.Lock()
	p.closed = true
	runner := p.runner
	p.mu.Unlock()
	if runner != nil {
		runner.Close(0)
	}
}
