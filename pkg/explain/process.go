// Package explain tells what a running process is doing, from what proc(5) shows:
// the process is neither stopped nor traced. Process makes the verbs of a
// control.Server that explain it, Leases those that hold it.
package explain

import (
	"errors"
	"io/fs"
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

// Verbs gives what everybody may ask. All but the first may wait for a target
// that hangs.
func (p *Process) Verbs() []control.Verb {
	return []control.Verb{
		{Name: "status", Help: "how the target is, in one line", Run: p.status},
		{Name: "threads", Help: "its threads: id, state, CPU time, name, wait channel, system call", Slow: true, Run: p.threads},
		{Name: "fds", Help: "its open descriptors, and how many of each kind", Slow: true, Run: p.fds},
		{Name: "maps", Help: "what it has mapped, the largest first", Slow: true, Run: p.maps},
		{Name: "limits", Help: "its resource limits, and how much of them is used", Slow: true, Run: p.limits},
		{
			Name: "sample", Slow: true, Limit: spanMax + 10*time.Second, Run: p.sample,
			Keys: []control.Key{{Name: "hz", Hint: "N"}, {Name: "for", Hint: "DURATION"}},
			Help: "count what its threads do, as folded lines for a flame graph",
		},
		{
			Name: "dump", Slow: true, Run: p.dump,
			Keys: []control.Key{{Name: "level", Hint: "light|full"}, {Name: "threads", Hint: "N"}, {Name: "smaps", Hint: "yes"}},
			Help: "all that can be seen of it without stopping it, as JSON; also in last.dump",
		},
	}
}

// look finds the target, lets read look at it, and makes sure that all of it was
// one process.
func (p *Process) look(read func(st procfs.Stat, r *control.Reply) error) (control.Reply, error) {
	var r control.Reply
	st, err := p.Target.Find()
	if err != nil {
		return r, err
	}
	r.Add("pid", st.PID)
	err = read(st, &r)
	if bad := Unchanged(st); bad != nil {
		err = bad
	}
	return r, Gone(err)
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
	st, err := p.Target.Find()
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

// Unchanged refuses with Gone when the number of a process that was found before
// is another's now: what was read since may be of both.
func Unchanged(st procfs.Stat) error {
	if now, err := procfs.ReadStat(st.PID); err == nil && !same(st, now) {
		return control.Refuse(control.Gone, "pid %d: another process has the number now", st.PID)
	}
	return nil
}

// Gone gives the code Gone to an error that says so.
func Gone(err error) error {
	var refusal *control.Refusal
	if !errors.As(err, &refusal) && errors.Is(err, fs.ErrNotExist) {
		return control.Refuse(control.Gone, "%v", err)
	}
	return err
}
