package watch

import (
	"sync"
	"time"
)

// Opinion is what somebody else thinks of an id that is about to be found dead.
type Opinion uint8

// The opinions. Nobody who cannot be asked, or does not answer in time, keeps a
// dead service alive.
const (
	NoOpinion Opinion = iota // it is dead, as it was going to be
	SaysDead
	SaysAlive // it stays suspect, and the question is put again one time to dead later
)

const (
	reasonDoubt = "unconfirmed"
	lateOpinion = "no second opinion in time"
	// doubtSlack is the time beyond Config.ConfirmMax for an answer to arrive.
	doubtSlack = time.Second
)

// doubt is one question, from the time to dead on until the id is dead or beats.
type doubt struct {
	beat    time.Duration // the last one before the question: a later one ends it
	asked   time.Duration
	waiting bool
	opinion Opinion
	until   time.Duration // the answer counts
}

// doubted tells whether a death has to wait for a second opinion, and until when.
// It puts the question.
func (c *Core) doubted(e *entry, v verdict, now time.Duration) (until time.Duration, yes bool) {
	if c.ask == nil {
		return 0, false
	}
	if v.state != Dead || e.state == Dead {
		delete(c.doubts, e.id)
		return 0, false
	}
	d := c.doubts[e.id]
	switch {
	case d == nil || d.beat != e.beat:
		c.question(e, v, now)
	case d.waiting && now-d.asked < c.cfg.ConfirmMax+doubtSlack:
	case d.waiting:
		c.unsure(e, lateOpinion)
		return 0, false
	case d.opinion != SaysAlive:
		return 0, false
	case now >= d.until:
		c.question(e, v, now)
	}
	if Suspect.Worse(e.state) && e.state != Unknown {
		v.state, v.reason = Suspect, reasonDoubt
		c.settle(e, v, now)
	}
	return now + e.probe(), true
}

// question asks whether e is dead.
func (c *Core) question(e *entry, v verdict, now time.Duration) {
	if c.doubts == nil {
		c.doubts = map[string]*doubt{}
	}
	c.doubts[e.id] = &doubt{beat: e.beat, asked: now, waiting: true}
	dead, _ := c.deadlines(e)
	ev := Event{Kind: Transition, ID: e.id, From: e.state, To: Dead, Reason: v.reason, Deadline: dead, PID: int(e.pid), Seq: e.seq}
	if e.beaten {
		ev.Beaten, ev.Age = true, now-e.beat
	}
	c.ask(ev)
}

// Answer takes in an opinion that was asked for, as of now.
func (c *Core) Answer(id string, o Opinion, now time.Duration) {
	d := c.doubts[id]
	key, known := c.key(id)
	if d == nil || !known || !d.waiting {
		return
	}
	e := c.entries[key]
	dead, _ := c.timeout(e)
	d.waiting, d.opinion, d.until = false, o, now+dead
	if o == NoOpinion {
		c.unsure(e, "no second opinion")
	}
	if o == SaysAlive && d.beat == e.beat {
		c.tell(e.id+": silent for longer than it may be, but said to live", "asked_again_in", dead)
	}
	c.Hurry(key)
}

func (c *Core) unsure(e *entry, what string) { c.tell(e.id + ": " + what + "; dead, as judged") }

// answers are opinions on their way to the loop.
type answers struct {
	mu    sync.Mutex
	list  []answer
	ready chan struct{} // has a token when there is one
}

type answer struct {
	id string
	o  Opinion
}

// Answer hands an opinion to the loop. It may be called from any goroutine, and does
// not block.
func (w *Watcher) Answer(id string, o Opinion) {
	w.answers.mu.Lock()
	w.answers.list = append(w.answers.list, answer{id, o})
	w.answers.mu.Unlock()
	select {
	case w.answers.ready <- struct{}{}:
	default:
	}
}

// consult tells the core what was answered.
func (w *Watcher) consult() {
	w.answers.mu.Lock()
	list := w.answers.list
	w.answers.list = nil
	w.answers.mu.Unlock()
	for _, a := range list {
		w.core.Answer(a.id, a.o, w.last)
	}
}

// wonder is doubted for a single check: it asks about all that are about to be found
// dead, waits for the answers, and looks at those again.
func (w *Watcher) wonder(keys []int32) {
	if w.opt.Confirm == nil {
		return
	}
	var dying []int32
	for _, key := range keys {
		e := w.core.entries[key]
		if v := w.core.evaluate(e, e.visited); v.state == Dead && e.state != Dead {
			w.core.question(e, v, e.visited)
			dying = append(dying, key)
		}
	}
	limit := time.NewTimer(w.opt.ConfirmMax + doubtSlack)
	defer limit.Stop()
	for waiting := len(dying); waiting > 0; {
		select {
		case <-w.answers.ready:
		case <-limit.C:
			for _, key := range dying {
				if e := w.core.entries[key]; w.core.doubts[e.id].waiting {
					w.core.unsure(e, lateOpinion)
				}
			}
			return
		}
		w.consult()
		waiting = 0
		for _, key := range dying {
			if w.core.doubts[w.core.entries[key].id].waiting {
				waiting++
			}
		}
	}
	w.lap(w.now())
	w.sweep(dying)
}

// overruled gives the verdict of a check after the answer.
func (c *Core) overruled(e *entry, v verdict) verdict {
	if d := c.doubts[e.id]; d != nil && v.state == Dead && d.opinion == SaysAlive && d.beat == e.beat {
		v.state, v.reason = Suspect, reasonDoubt
	}
	return v
}
