package explain

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

const (
	hzDefault, hzMax     = 20, 200
	spanDefault, spanMax = 2 * time.Second, 5 * time.Minute
	stacksMax            = 4096 // different lines; what else comes is counted in one
	rest                 = 3    // of the time at least this many parts in four are not spent looking
	beyond               = "(others)"
)

// folded counts what threads were seen doing: one line for each different
// thing, "name;thread;state;call;wchan", as a flame graph wants them.
type folded struct {
	name   string // of the process
	counts map[string]int
}

func newFolded(name string) *folded { return &folded{frame(name), map[string]int{}} }

// frame makes a text fit for one frame: the semicolon is what separates them.
func frame(s string) string {
	s = strings.ReplaceAll(cli.Escape(s), ";", ",")
	if s == "" {
		return "-"
	}
	return s
}

func (f *folded) add(t thread) {
	line := f.name + ";" + frame(t.stat.Comm) + ";" + stateWord(t.stat.State)
	if !t.call.Running && t.call.Nr >= 0 && t.errSC == nil {
		line += ";" + t.call.Word()
	}
	if t.wchan != "" {
		line += ";" + frame(t.wchan)
	}
	if f.counts[line] == 0 && len(f.counts) >= stacksMax {
		line = f.name + ";" + beyond
	}
	f.counts[line]++
}

// lines gives "frame;frame count", in the order of the frames.
func (f *folded) lines() []byte {
	keys := make([]string, 0, len(f.counts))
	for line := range f.counts {
		keys = append(keys, line)
	}
	slices.Sort(keys)
	var b []byte
	for _, line := range keys {
		b = append(append(b, line...), ' ')
		b = append(strconv.AppendInt(b, int64(f.counts[line]), 10), '\n')
	}
	return b
}

// Sampling says how often to look, and how long.
type Sampling struct {
	Hz  int
	For time.Duration
}

// parseSampling reads hz= and for=; "" is the default.
func parseSampling(hz, span string) (s Sampling, err error) {
	s = Sampling{hzDefault, spanDefault}
	if hz != "" {
		if s.Hz, err = strconv.Atoi(hz); err != nil || s.Hz < 1 || s.Hz > hzMax {
			return s, fmt.Errorf("hz %s: want 1 to %d", hz, hzMax)
		}
	}
	if span != "" {
		if s.For, err = time.ParseDuration(span); err != nil || s.For <= 0 || s.For > spanMax {
			return s, fmt.Errorf("for %s: want a time with a unit, up to %v", span, spanMax)
		}
	}
	return s, nil
}

func (p *Process) sample(c control.Call) (control.Reply, error) {
	s, err := parseSampling(c.Get("hz"), c.Get("for"))
	if err != nil {
		return control.Reply{}, control.Refuse(control.Usage, "%v", err)
	}
	return p.Sample(c.Done, s)
}

// Sample looks at all threads of the target again and again and counts what they
// do, as folded lines. It neither stops nor traces them, and spends no more than
// a quarter of the time with looking: with many threads it looks less often than
// it was told, and says how often. It ends early, though not before it has looked
// once, when done is closed or the target ends.
func (p *Process) Sample(done <-chan struct{}, s Sampling) (control.Reply, error) {
	return p.look(func(st procfs.Stat, r *control.Reply) error {
		f := newFolded(st.Comm)
		g := gaze(st.PID, readThread)
		defer g.end()
		begun := time.Now()
		looks, seen := 0, 0
		truncated := false
		period := time.Second / time.Duration(s.Hz)
		for next := begun; next.Sub(begun) < s.For; {
			if looks > 0 && !sleepUntil(done, next) {
				break
			}
			at := time.Now()
			tids, dead, err := tasksOf(st)
			if err != nil && looks > 0 && errors.Is(err, fs.ErrNotExist) {
				break // it has ended; what was seen is worth telling
			}
			if err != nil {
				return err
			}
			truncated = truncated || len(tids) > threadsLimit
			for _, tid := range tids[:min(len(tids), threadsLimit)] {
				if t := g.look(tid); t.errStat == nil {
					f.add(t)
					seen++
				}
			}
			looks++
			spent := time.Since(at)
			if next = next.Add(period); time.Until(next) < rest*spent {
				next = time.Now().Add(rest * spent)
			}
			if g.hung || dead {
				break
			}
		}
		r.Add("looks", looks)
		r.Add("threads_seen", seen)
		r.Add("ms", time.Since(begun).Milliseconds())
		if truncated || g.hung {
			r.Add("truncated", "yes")
		}
		r.Data = f.lines()
		return nil
	})
}

// tasksOf gives the threads, of this process only; dead says that what is left is
// a zombie.
func tasksOf(st procfs.Stat) (tids []int, dead bool, err error) {
	now, err := procfs.ReadStat(st.PID)
	if err != nil {
		return nil, false, err
	}
	if !same(st, now) {
		return nil, false, fmt.Errorf("pid %d: %w", st.PID, fs.ErrNotExist)
	}
	tids, err = procfs.Tasks(st.PID)
	return tids, now.State == 'Z' && len(tids) <= 1, err
}

// sleepUntil says whether it came to that.
func sleepUntil(done <-chan struct{}, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}
