package diag

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"vigil/pkg/boottime"
)

// A Pause is a time in which the program got nothing done.
type Pause struct {
	End    time.Time     // when it was noticed
	Length time.Duration // without the time in which the host was suspended
	CPU    time.Duration // that the process used meanwhile: near 0, it was stopped or had no processor; else it was busy with itself

	Suspended time.Duration // of the host, besides
}

// pausesKept is how many pauses are remembered.
const pausesKept = 16

// A Guard notices pauses: a goroutine of its own wakes up again and again, and
// sees when it comes late. So does all else in the program then: because the
// collector, a debugger or a signal stopped it, or because there were more
// goroutines or processes than processors. Its methods may be called
// concurrently.
type Guard struct {
	least time.Duration
	told  func(Pause)
	stop  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	begun   time.Time
	count   int
	longest time.Duration
	latest  []Pause // the oldest first
}

// NewGuard starts a guard that notices pauses of at least least, which is to be
// 20 ms or more. It wakes up four times in that. For each, told is called in the
// guard's goroutine; nil for not at all. The caller calls Close.
func NewGuard(least time.Duration, told func(Pause)) *Guard {
	g := &Guard{least: max(least, 20*time.Millisecond), told: told, stop: make(chan struct{}), begun: time.Now()}
	go g.watch(read(g.begun))
	return g
}

// Close ends the guard.
func (g *Guard) Close() { g.once.Do(func() { close(g.stop) }) }

// instant is what a guard reads from its clocks.
type instant struct {
	awake     time.Duration // since any moment, without suspension
	suspended time.Duration
	cpu       time.Duration
}

func read(begun time.Time) instant {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails with these arguments
	return instant{time.Since(begun), boottime.Suspended(), time.Duration(u.Utime.Nano() + u.Stime.Nano())}
}

// watch begins with the first instant, which was before it was started.
func (g *Guard) watch(last instant) {
	period := g.least / 4
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
		}
		now := read(g.begun)
		if p, ok := g.judge(last, now, period); ok {
			p.End = time.Now()
			g.note(p)
			if g.told != nil {
				g.told(p)
			}
		}
		// What told does is no pause of the program.
		last = read(g.begun)
	}
}

// judge says whether what lies between two instants, of which the second was to
// come a period after the first, was a pause.
func (g *Guard) judge(last, now instant, period time.Duration) (Pause, bool) {
	p := Pause{Length: now.awake - last.awake - period, CPU: now.cpu - last.cpu, Suspended: now.suspended - last.suspended}
	return p, p.Length >= g.least
}

func (g *Guard) note(p Pause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	g.longest = max(g.longest, p.Length)
	if len(g.latest) == pausesKept {
		g.latest = append(g.latest[:0], g.latest[1:]...)
	}
	g.latest = append(g.latest, p)
}

// Verb makes the verb pauses: how many there were, the longest, and the latest
// 16, one to a line.
func (g *Guard) Verb() Verb {
	return Verb{Name: "pauses", Help: "when the program stood still: count, longest, and the latest with their CPU time", Run: g.run}
}

func (g *Guard) run(Call) (r Reply, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.Add("count", g.count)
	r.Add("longest_ms", g.longest.Milliseconds())
	r.Add("least_ms", g.least.Milliseconds())
	r.Add("watched_s", int(time.Since(g.begun).Seconds()))
	for _, p := range g.latest {
		r.Data = fmt.Appendf(r.Data, "%s pause_ms=%d cpu_ms=%d suspended_ms=%d\n", p.End.UTC().Format("2006-01-02T15:04:05.000Z"),
			p.Length.Milliseconds(), p.CPU.Milliseconds(), p.Suspended.Milliseconds())
	}
	return r, nil
}
