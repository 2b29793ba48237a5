package capture

import (
	"context"
	"errors"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// Auto is the mode that leaves the choice to Capture.
const Auto = "auto"

// Options say how to capture. The zero value is auto without limits.
type Options struct {
	Mode string // a word of Modes; "" is auto

	// MaxSize bounds the bytes of data in the core; 0 does not. What does not
	// fit is left out, stacks last, and the report says that the core is partial.
	MaxSize int64

	// KeepFree is how many bytes Save leaves free on the file system of the core.
	// A core that would take more ends there, and is partial.
	KeepFree int64

	// Progress, if set, is told now and then how much of the memory is copied;
	// total is an estimate. It is called from one goroutine at a time.
	Progress func(done, total int64)
}

// Report says what a capture saw and did.
type Report struct {
	Mode    string
	Reason  string // why this mode
	Threads int
	LeftOut []ptrace.LeftOut // did not stop; they have no registers in the core
	Shared  []Region         // in the core, but not of the moment of the stop
	Bytes   int64            // of data in the core, holes left out
	Size    int64            // of the core, holes included
	Unread  int64            // bytes that read as zero because they could not be read
	Partial string           // why memory is missing at the end; "" when the core is whole
	Left    string           // what could not be cleared away in the target, and why; "" as a rule
	Pause   time.Duration    // of the target
	Time    time.Time        // of the stop
	BootMS  int64            // the same on CLOCK_BOOTTIME

	BuildIDs []BuildID
}

// Region is a part of the address space.
type Region struct {
	Start, End uint64
	Name       string
}

// job is one capture under way: what all arrangements are given.
type job struct {
	*Target
	ctx context.Context
	out Output
	opt Options

	// What before found, once.
	maps []procfs.Mapping
	site ptrace.Site
}

// arrangement is one way to put the parts together: stop the threads, read the
// registers, choose the memory, copy it from somewhere, write the core.
type arrangement struct {
	name string
	// run captures, or leaves the target as it was. An error that wraps errUnfit
	// means that the next arrangement may try.
	run func(*job) (*Report, error)
}

const (
	precopyMode = "precopy"
	miniMode    = "mini" // has to be asked for
)

// arrangements are the modes in the order in which auto tries them. mini is not
// tried: it leaves out what the others are there for.
var arrangements = []arrangement{
	{precopyMode, (*job).precopy},
	{"fork", (*job).fork},
	{"stop", (*job).stop},
	{miniMode, (*job).mini},
}

// Modes are the words for Options.Mode, auto first.
func Modes() []string {
	words := []string{Auto}
	for _, a := range arrangements {
		words = append(words, a.name)
	}
	return words
}

// errUnfit is wrapped by the error of an arrangement that cannot be used for
// this target, here and now.
var errUnfit = errors.New("not possible here")

// errFull is reported when the output may not, or cannot, take any more.
var errFull = errors.New("no room left")

// Capture writes a core of t to out. However it ends, by itself or with the
// whole program, the target goes on as before: stopped if it was stopped.
// Cancelling ctx, and a copy that does not move for ten seconds, let it go at
// once; the copy may then still hang for a while in the background, and out must
// not be trusted.
func (t *Target) Capture(ctx context.Context, out Output, opt Options) (*Report, error) {
	j := &job{Target: t, ctx: ctx, out: out, opt: opt}
	var why []string
	for _, a := range arrangements {
		if opt.Mode != a.name && (a.name == miniMode || opt.Mode != Auto && opt.Mode != "") {
			continue
		}
		r, err := a.run(j)
		if err == nil {
			r.Mode = a.name
			if r.Reason != "" {
				why = append(why, r.Reason)
			}
			r.Reason = strings.Join(why, "; ")
			return r, nil
		}
		if lost := t.lost(err); lost != nil {
			return nil, lost
		}
		if opt.Mode == a.name || !errors.Is(err, errUnfit) {
			return nil, err
		}
		if err := j.startOver(); err != nil {
			return nil, err
		}
		why = append(why, strings.ReplaceAll(err.Error(), ": "+errUnfit.Error(), ""))
	}
	return nil, fmt.Errorf("mode %s: no such mode", opt.Mode)
}

// startOver makes the output empty for the next arrangement, which looks at the
// target anew.
func (j *job) startOver() error {
	j.maps = nil
	if out, ok := j.out.(Rewritable); ok {
		return out.SetSize(0)
	}
	return nil
}
