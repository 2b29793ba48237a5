// Package explain tells what a running process is doing, from what proc(5) shows:
// the process is neither stopped nor traced. Process makes the verbs of a
// control.Server that explain it, Leases those that hold it.
package explain

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/procfs"
)

// Process explains one process. Its verbs read /proc and nothing else: the
// process is neither stopped nor traced nor signalled.
type Process struct {
	ID     string // the name of the service
	Target *Target

	// Held tells which hold excuses the id, as pairs for status; nil where holds
	// are not looked at.
	Held func() []control.Pair

	// Spool keeps the dumps; nil for none.
	Spool *Spool
}

// Verbs gives status, threads and dump.
func (p *Process) Verbs() []control.Verb {
	return []control.Verb{
		{Name: "status", Help: "how the target is, in one line", Run: p.status},
		{Name: "threads", Help: "its threads: id, state, CPU time, name, wait channel, system call", Slow: true, Run: p.threads},
		{Name: "dump", Help: "all that can be seen of it without stopping it, as JSON; also in last.dump", Slow: true, Run: p.dump},
	}
}

// stateWords are the states of proc(5), in the words of ps(1) where it has some.
var stateWords = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "disk-sleep", 'T': "stopped", 't': "tracing-stop",
	'Z': "zombie", 'X': "dead", 'x': "dead", 'I': "idle", 'P': "parked", 'W': "waking", 'K': "wakekill",
}

func stateWord(b byte) string {
	if w := stateWords[b]; w != "" {
		return w
	}
	return cli.Escape(string(rune(b)))
}

const tick = time.Second / procfs.TicksPerSecond

func ticksMS(n uint64) int64 { return int64(n) * tick.Milliseconds() }

// age is how long ago the process started.
func age(st procfs.Stat) int64 {
	return max(0, boottime.Now().Milliseconds()-ticksMS(st.StartTime))
}

func (p *Process) status(control.Call) (control.Reply, error) {
	var r control.Reply
	st, err := p.Target.find()
	if err != nil {
		return r, err
	}
	r.Add("id", p.ID)
	r.Add("pid", st.PID)
	r.Add("state", stateWord(st.State))
	r.Add("name", st.Comm)
	r.Add("threads", st.Threads)
	r.Add("age_ms", age(st))
	r.Add("cpu_ms", ticksMS(st.UTime+st.STime))
	more, err := procfs.ReadStatus(st.PID)
	if err == nil {
		r.Add("rss_bytes", more.VMRSS)
		r.Add("swap_bytes", more.VMSwap)
		r.Add("tracer", more.TracerPID)
		r.Add("uid", more.UID[1])
	} else if errors.Is(err, fs.ErrNotExist) {
		return r, control.Refuse(control.Gone, "%v", err)
	}
	if p.Held != nil {
		r.Pairs = append(r.Pairs, p.Held()...)
	}
	return r, nil
}

// threadsMax bounds how many threads are looked at: 30 µs each.
const threadsMax = 256

// thread is what can be seen of one.
type thread struct {
	tid                  int
	stat                 procfs.Stat
	wchan                string // "" when it runs, or is hidden
	call                 procfs.Syscall
	errStat, errW, errSC error
}

// eachThread looks at the first threadsMax threads. total is how many there
// are; visited fewer when done was closed.
func eachThread(done <-chan struct{}, pid int, visit func(thread)) (total, visited int, err error) {
	tids, err := procfs.Tasks(pid)
	if err != nil {
		return 0, 0, err
	}
	for _, tid := range tids[:min(len(tids), threadsMax)] {
		select {
		case <-done:
			return len(tids), visited, nil
		default:
		}
		t := thread{tid: tid}
		t.stat, t.errStat = procfs.ReadTaskStat(pid, tid)
		if t.errStat == nil {
			t.wchan, t.errW = procfs.Wchan(pid, tid)
			t.call, t.errSC = procfs.ReadSyscall(pid, tid)
		}
		visit(t)
		visited++
	}
	return len(tids), visited, nil
}

// callWord is what a thread does in the kernel, for people: the number of the
// system call, or "running" or "user".
func callWord(c procfs.Syscall) string {
	switch {
	case c.Running:
		return "running"
	case c.Nr < 0:
		return "user"
	}
	return strconv.FormatInt(c.Nr, 10)
}

func (p *Process) threads(c control.Call) (control.Reply, error) {
	var r control.Reply
	st, err := p.Target.find()
	if err != nil {
		return r, err
	}
	b := []byte("TID\tSTATE\tCPU_MS\tNAME\tWCHAN\tSYSCALL\n")
	total, visited, err := eachThread(c.Done, st.PID, func(t thread) {
		if t.errStat != nil {
			return // ended meanwhile
		}
		wchan, call := t.wchan, "-"
		if wchan == "" {
			wchan = "-"
		}
		if t.errSC == nil {
			call = callWord(t.call)
		}
		b = fmt.Appendf(b, "%d\t%s\t%d\t%s\t%s\t%s\n", t.tid, stateWord(t.stat.State),
			ticksMS(t.stat.UTime+t.stat.STime), cli.Escape(t.stat.Comm), cli.Escape(wchan), call)
	})
	if err == nil {
		err = p.unchanged(st)
	}
	if err != nil {
		return r, gone(err)
	}
	r.Add("pid", st.PID)
	r.Add("threads", total)
	if visited < total {
		r.Add("truncated", true)
	}
	r.Data = b
	return r, nil
}

// unchanged says whether the pid still belongs to the process that was found:
// otherwise all that was read since may be of two processes.
func (p *Process) unchanged(st procfs.Stat) error {
	now, err := procfs.ReadStat(st.PID)
	if err == nil && !same(st, now) {
		err = control.Refuse(control.Gone, "pid %d: another process has the number now", st.PID)
	}
	return err
}

// gone gives the code Gone to an error that says so.
func gone(err error) error {
	var refusal *control.Refusal
	if !errors.As(err, &refusal) && errors.Is(err, fs.ErrNotExist) {
		return control.Refuse(control.Gone, "%v", err)
	}
	return err
}

func (p *Process) dump(c control.Call) (control.Reply, error) {
	var r control.Reply
	st, err := p.Target.find()
	if err != nil {
		return r, err
	}
	now := time.Now()
	text, err := Dump(c.Done, p.ID, st, now)
	if err != nil {
		return r, err
	}
	r.Add("pid", st.PID)
	r.Data, r.Save = text, control.DumpName
	if p.Spool == nil {
		return r, nil
	}
	name, err := p.Spool.Keep(p.ID, st.PID, now, text)
	if err != nil {
		// The answer itself is worth more than the copy that could not be kept.
		r.Add("not_kept", err)
		return r, nil
	}
	r.Add("kept", name)
	return r, nil
}

// DumpTarget is Dump of the process that t means now.
func DumpTarget(done <-chan struct{}, id string, t *Target) ([]byte, error) {
	st, err := t.find()
	if err != nil {
		return nil, err
	}
	return Dump(done, id, st, time.Now())
}
