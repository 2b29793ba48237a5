package explain

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// Bounds of looking at threads: each costs some 20 µs.
const (
	threadsMax   = 256  // unless told otherwise
	threadsLimit = 4096 // whatever was told
	// patience is how long one thread may take (procfs.Periods times that, where
	// only a processor is missing): reading what system call it is in waits for an
	// exec that is under way.
	patience = time.Second
)

// thread is what can be seen of one.
type thread struct {
	tid                  int
	stat                 procfs.Stat
	wchan                string // "" when it runs, or is hidden
	call                 procfs.Syscall
	errStat, errW, errSC error
}

func readThread(pid, tid int) thread {
	t := thread{tid: tid}
	if t.stat, t.errStat = procfs.ReadTaskStat(pid, tid); t.errStat != nil {
		return t
	}
	switch t.stat.State {
	case 'R':
		t.call.Running = true
		return t
	case 'Z', 'X':
		t.call.Nr = -1
		return t
	}
	t.wchan, t.errW = procfs.Wchan(pid, tid)
	t.call, t.errSC = procfs.ReadSyscall(pid, tid)
	return t
}

// wchanWord is the kernel function a thread sleeps in, for people.
func (t *thread) wchanWord() string {
	if t.wchan == "" {
		return "-"
	}
	return cli.Escape(t.wchan)
}

// callWord is what a thread does in the kernel, for people.
func (t *thread) callWord() string {
	if t.errSC != nil {
		return "-"
	}
	return t.call.Word()
}

// gazer looks at the threads of one process, in a goroutine of its own: a
// target that lets a read hang costs that goroutine, and nothing else.
type gazer struct {
	pid  int
	ask  chan int // tids
	seen chan thread
	tid  atomic.Int64 // of that goroutine
	hung bool

	patience time.Duration
}

// gaze begins; the caller calls end. The function read is readThread.
func gaze(pid int, read func(pid, tid int) thread) *gazer {
	g := &gazer{pid: pid, ask: make(chan int, 1), seen: make(chan thread, 1), patience: patience}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		g.tid.Store(int64(syscall.Gettid()))
		for tid := range g.ask {
			g.seen <- read(pid, tid)
		}
	}()
	return g
}

func (g *gazer) end() { close(g.ask) }

// look gives a thread as it is now. After it has hung once, it is not asked
// again.
func (g *gazer) look(tid int) thread {
	if !g.hung {
		g.ask <- tid
		tick := time.NewTicker(g.patience)
		defer tick.Stop()
		for n := 0; n < procfs.Periods && !g.hung; n++ {
			select {
			case t := <-g.seen:
				return t
			case <-tick.C:
				g.hung = procfs.Blocked(int(g.tid.Load()))
			}
		}
		g.hung = true
	}
	err := fmt.Errorf("pid %d: task/%d: the kernel does not answer: %w", g.pid, tid, os.ErrDeadlineExceeded)
	return thread{tid: tid, errStat: err}
}

// eachThread looks at the first most threads. total is how many there
// are; visited fewer when done was closed.
func eachThread(done <-chan struct{}, pid, most int, visit func(thread)) (total, visited int, err error) {
	tids, err := procfs.Tasks(pid)
	if err != nil {
		return 0, 0, err
	}
	g := gaze(pid, readThread)
	defer g.end()
	for _, tid := range tids[:min(len(tids), most)] {
		select {
		case <-done:
			return len(tids), visited, nil
		default:
		}
		visit(g.look(tid))
		visited++
	}
	return len(tids), visited, nil
}

func (p *Process) threads(c control.Call) (control.Reply, error) {
	return p.look(func(st procfs.Stat, r *control.Reply) error {
		b := []byte("TID\tSTATE\tCPU_MS\tNAME\tWCHAN\tSYSCALL\n")
		total, visited, err := eachThread(c.Done, st.PID, threadsMax, func(t thread) {
			if t.errStat != nil {
				return // ended meanwhile
			}
			b = fmt.Appendf(b, "%d\t%s\t%d\t%s\t%s\t%s\n", t.tid, stateWord(t.stat.State),
				ticksMS(t.stat.UTime+t.stat.STime), cli.Escape(t.stat.Comm), t.wchanWord(), t.callWord())
		})
		r.Add("threads", total)
		if visited < total {
			r.Add("truncated", "yes")
		}
		r.Data = b
		return err
	})
}
