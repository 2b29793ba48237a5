package diag

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"vigil/pkg/explain"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

// out is where dumps and profiles are kept; the directories are nil for
// nowhere.
type out struct {
	id    string
	keep  int
	dumps *explain.Spool
	dir   *rundir.Dir
}

// Bounds of what a dump says of goroutines: so many groups, and so many
// goroutines looked at.
const (
	groupsMax     = 64
	goroutinesMax = 20_000
)

// dump makes a verb that adds to the dump of a process, as explain makes it, the
// member "go".
func (o *out) dump(process func(Call) (Reply, error)) func(Call) (Reply, error) {
	return func(c Call) (Reply, error) {
		r, err := process(c)
		if err != nil {
			return r, err
		}
		if head, ok := bytes.CutSuffix(r.Data, []byte("}\n")); ok {
			r.Data = slices.Concat(head, []byte(`,"go":`), inside(c.Get("level") != "light"), []byte("}\n"))
		}
		if o.dumps != nil {
			name, err := o.dumps.Keep(o.id, os.Getpid(), time.Now(), r.Data)
			if name != "" {
				r.Add("kept", name)
			}
			if err != nil {
				r.Add("not_kept", err)
			}
		}
		return r, nil
	}
}

// inside is what the program knows of itself, as a JSON object.
func inside(full bool) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Str("version", runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		w.Str("module", info.Path)
		w.Str("module_version", info.Main.Version)
	}
	samples := make([]metrics.Sample, len(measures))
	for i, m := range measures {
		samples[i].Name = m.name
	}
	metrics.Read(samples)
	for i, m := range measures {
		switch v := samples[i].Value; v.Kind() {
		case metrics.KindUint64:
			w.Uint(m.key, v.Uint64())
		case metrics.KindFloat64:
			w.Float(m.key, v.Float64())
		case metrics.KindFloat64Histogram:
			w.Float(m.key+"_p99", quantile(v.Float64Histogram(), 0.99))
			w.Float(m.key+"_max", quantile(v.Float64Histogram(), 1))
		}
	}
	if full {
		appendGroups(&w)
	}
	w.End()
	return w.Bytes()
}

// group is a number of goroutines with one stack.
type group struct {
	count int
	stack []uintptr
}

// appendGroups writes the goroutines, those with equal stacks together, most
// first.
func appendGroups(w *jsonline.Writer) {
	groups, complete := grouped()
	w.Array("groups")
	for _, g := range groups[:min(len(groups), groupsMax)] {
		w.Object("")
		w.Int("count", int64(g.count))
		w.Array("stack")
		for _, f := range telling(g.stack) {
			w.Str("", fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line))
		}
		w.End()
		w.End()
	}
	w.End()
	w.Bool("truncated", !complete || len(groups) > groupsMax)
}

// telling gives the frames without those in which the runtime begins and ends
// every stack; what it was called for is one, as in runtime.chanrecv1.
func telling(stack []uintptr) (shown []runtime.Frame) {
	ours := false
	frames := runtime.CallersFrames(stack)
	for more := len(stack) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		inner := strings.HasPrefix(f.Function, "runtime.")
		switch {
		case inner && !more: // goexit
		case inner && !ours:
			shown = []runtime.Frame{f}
		default:
			ours = true
			shown = append(shown, f)
		}
	}
	return shown
}

// grouped looks at the goroutines while the program goes on; not at all, if
// there are very many.
func grouped() (groups []group, complete bool) {
	n := runtime.NumGoroutine()
	var records []runtime.StackRecord
	for {
		if n > goroutinesMax {
			return nil, false
		}
		records = make([]runtime.StackRecord, n+n/8+16)
		var ok bool
		if n, ok = runtime.GoroutineProfile(records); ok {
			records = records[:n]
			break
		}
	}
	index := map[string]int{}
	for i := range records {
		stack := records[i].Stack()
		key := make([]byte, 0, 8*len(stack))
		for _, pc := range stack {
			key = binary.NativeEndian.AppendUint64(key, uint64(pc))
		}
		at, known := index[string(key)]
		if !known {
			at = len(groups)
			index[string(key)] = at
			groups = append(groups, group{stack: slices.Clone(stack)})
		}
		groups[at].count++
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.count, a.count) })
	return groups, true
}
