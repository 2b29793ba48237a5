package operate

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/child"
	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

const (
	coreEvery   = 10 * time.Minute // one core in so much time: each may fill a disk
	coreLimit   = 10 * time.Minute
	stacksLimit = 30 * time.Second
	pruneLimit  = time.Minute
	stacksMost  = 1 << 20
)

// Captures has corecap(8) look into a process. Unlike all else that diagfifo
// does, this stops the process for a moment.
type Captures struct {
	ID     string
	Target *explain.Target
	Log    control.Log

	program string
	tool    []string // the word that it wants first, where it is this program
	cores   string   // the directory for them; "" for none

	mu   sync.Mutex
	last time.Duration // when a core was begun, 0 for never
}

// Open finds the program corecap: at path or, if that is "", beside this
// program, or in it; where there is none, found is false and no verb is served. It goes
// with a directory for cores, trusted as rundir says, or "".
func (k *Captures) Open(path, cores string) (found bool, err error) {
	given := path != ""
	if !given {
		self, err := os.Executable()
		if err != nil {
			return false, err
		}
		path = filepath.Join(filepath.Dir(self), "corecap")
	}
	if k.program, err = filepath.Abs(path); err != nil {
		return false, err
	}
	var st syscall.Stat_t
	err = syscall.Stat(k.program, &st)
	if err == syscall.ENOENT && !given && cli.Within("corecap") {
		k.tool = []string{"corecap"}
		if k.program, err = os.Executable(); err == nil {
			err = syscall.Stat(k.program, &st)
		}
	}
	switch {
	case err != nil && !given && cores == "":
		return false, nil // nobody asked for it
	case err != nil:
		return false, fmt.Errorf("%s: %w", k.program, err)
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return false, fmt.Errorf("%s: not a regular file: %w", k.program, ErrProgram)
	}
	if err := trusted(k.program, int(st.Uid), st.Mode); err != nil {
		return false, err
	}
	if cores == "" {
		return true, nil
	}
	dir, err := rundir.Open(cores)
	if err != nil {
		return false, err
	}
	_ = dir.Close()
	k.cores, err = filepath.Abs(cores)
	return true, err
}

func (k *Captures) argv(args ...string) []string {
	return append(append([]string{k.program}, k.tool...), args...)
}

// Verbs gives stacks, and core where there is a directory for it.
func (k *Captures) Verbs() []control.Verb {
	verbs := []control.Verb{{
		Name: "stacks", Admin: true, Slow: true, Limit: stacksLimit + 5*time.Second, Run: k.stacks,
		Help: "the stacks of all threads; stops the target for a moment",
	}}
	if k.cores != "" {
		verbs = append(verbs, control.Verb{
			Name: "core", Admin: true, Slow: true, Limit: coreLimit + pruneLimit + 10*time.Second, Run: k.core,
			Help: "a core of the target, which goes on; one in 10 minutes",
		})
	}
	return verbs
}

func (k *Captures) stacks(c control.Call) (control.Reply, error) {
	return k.capture(c, stacksLimit, func(pid int) []string { return []string{"stacks", strconv.Itoa(pid)} })
}

func (k *Captures) core(c control.Call) (control.Reply, error) {
	if err := k.admit(); err != nil {
		return control.Reply{}, err
	}
	name := ""
	r, err := k.capture(c, coreLimit, func(pid int) []string {
		name = k.cores + "/" + coreName(k.ID, pid, time.Now())
		return []string{"-q", "-o", name, strconv.Itoa(pid)}
	})
	if err != nil {
		// It may be the core of another process, which has the number now.
		_ = os.Remove(name)
		return r, err
	}
	r.Add("file", name)
	k.Log.Info("core " + name)
	k.prune(c.Done)
	return r, nil
}

// coreName is how corecap would call it, so that it knows it as one of its own:
// PROGRAM_PID_TIME, here with the id for the program, and the time in seconds.
func coreName(id string, pid int, at time.Time) string {
	return strings.Replace(explain.FileName(id, pid, at.Truncate(time.Second), ".core"), ".000Z", "Z", 1)
}

// prune has corecap remove what is too much. The core that was asked for is there
// all the same.
func (k *Captures) prune(done <-chan struct{}) {
	res, err := child.Run(done, child.Config{Argv: k.argv("prune", k.cores), Limit: pruneLimit, Most: errMost})
	if err == nil && res.Status != 0 {
		err = fmt.Errorf("exit status %d", res.Status)
	}
	if err != nil {
		k.Log.Warn(fmt.Sprintf("%s: corecap prune: %v", k.cores, told(err, res)))
	}
}

// admit counts the attempts, not only the cores: a target that cannot be captured
// was stopped, too.
func (k *Captures) admit() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := boottime.Now()
	if k.last != 0 && now-k.last < coreEvery {
		left := (coreEvery - (now - k.last)).Round(time.Second)
		return control.Refuse(control.Busy, "one core in %v: wait %v", coreEvery, max(left, time.Second))
	}
	k.last = now
	return nil
}

// capture runs corecap on the target, and makes sure that it was the target all
// the time.
func (k *Captures) capture(c control.Call, limit time.Duration, args func(pid int) []string) (control.Reply, error) {
	var r control.Reply
	st, err := k.Target.Find()
	if err != nil {
		return r, err
	}
	res, err := child.Run(c.Done, child.Config{Argv: k.argv(args(st.PID)...), Limit: limit, Most: stacksMost})
	if err == nil && res.Status != 0 {
		err = fmt.Errorf("corecap: exit status %d", res.Status)
	}
	if err != nil {
		return r, told(err, res)
	}
	if err := explain.Unchanged(st); err != nil {
		return r, err
	}
	r.Add("pid", st.PID)
	if res.Cut {
		r.Add("truncated", "yes")
	}
	r.Data = res.Out
	return r, nil
}
