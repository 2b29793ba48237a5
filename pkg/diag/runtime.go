package diag

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/control"
)

// runtimeVerbs tell what only the program itself can know.
func runtimeVerbs() []Verb {
	return []Verb{
		{
			Name: "goroutines", Slow: true, Run: goroutines,
			Keys: []Key{{Name: "max", Hint: "BYTES"}},
			Help: "the stacks of its goroutines, equal ones counted together",
		},
		{Name: "runtime", Help: "its goroutines, memory and collector, in one line", Run: summary},
		{
			Name: "metrics", Run: allMetrics,
			Keys: []Key{{Name: "of", Hint: "PREFIX"}},
			Help: "all that the Go runtime measures, one to a line, or those under PREFIX",
		},
		{Name: "build", Help: "how it was built: Go, module, version control, dependencies", Run: build},
		{
			Name: "stacks", Slow: true, Admin: true, Run: stacks,
			Keys: []Key{{Name: "max", Hint: "BYTES"}},
			Help: "the stack of each goroutine, with its state, how long it has waited, and arguments",
		},
	}
}

const stacksLimit = 16 << 20

// most is the value of the key max.
func most(c Call) (int, error) {
	text := c.Get("max")
	if text == "" {
		return textLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > stacksLimit {
		return 0, Usagef("max %s: want 1 to %d bytes", text, stacksLimit)
	}
	return n, nil
}

// goroutines stops the program for a moment only: the runtime gathers the
// stacks while it goes on (runtime/pprof, debug=1).
func goroutines(c Call) (r Reply, err error) {
	b := capped{}
	if b.limit, err = most(c); err != nil {
		return r, err
	}
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return r, err
	}
	r.Add("goroutines", runtime.NumGoroutine())
	b.give(&r)
	return r, nil
}

// stacks stops the program while the text is made, 6 ms for a thousand
// goroutines: that bounds nothing but the text.
func stacks(c Call) (r Reply, err error) {
	limit, err := most(c)
	if err != nil {
		return r, err
	}
	buf := make([]byte, limit)
	n := runtime.Stack(buf, true)
	r.Add("goroutines", runtime.NumGoroutine())
	if n == len(buf) {
		r.Add("truncated", "yes")
	}
	r.Data = append(buf[:n:n], '\n')
	return r, nil
}

// measures are those of the summary: key, name for runtime/metrics.
var measures = []struct{ key, name string }{
	{"goroutines", "/sched/goroutines:goroutines"},
	{"gomaxprocs", "/sched/gomaxprocs:threads"},
	{"heap_objects_bytes", "/memory/classes/heap/objects:bytes"},
	{"heap_live_bytes", "/gc/heap/live:bytes"},
	{"heap_goal_bytes", "/gc/heap/goal:bytes"},
	{"heap_allocs_bytes", "/gc/heap/allocs:bytes"},
	{"stacks_bytes", "/memory/classes/heap/stacks:bytes"},
	{"released_bytes", "/memory/classes/heap/released:bytes"},
	{"total_bytes", "/memory/classes/total:bytes"},
	{"memory_limit_bytes", "/gc/gomemlimit:bytes"},
	{"gc_cycles", "/gc/cycles/total:gc-cycles"},
	{"gc_percent", "/gc/gogc:percent"},
	{"gc_cpu_s", "/cpu/classes/gc/total:cpu-seconds"},
	{"gc_pause_s", "/sched/pauses/total/gc:seconds"},
	{"latency_s", "/sched/latencies:seconds"},
	{"cgo_calls", "/cgo/go-to-c-calls:calls"},
}

func summary(Call) (r Reply, err error) {
	samples := make([]metrics.Sample, len(measures))
	for i, m := range measures {
		samples[i].Name = m.name
	}
	metrics.Read(samples)
	for i, m := range measures {
		if text := value(samples[i].Value); text != "" {
			r.Pairs = append(r.Pairs, control.Pair{Key: m.key, Value: text})
		}
	}
	return r, nil
}

// value is a metric as text; of a distribution its 50th and 99th percentile and
// its greatest; "" of what this Go does not measure.
func value(v metrics.Value) string {
	switch v.Kind() {
	case metrics.KindUint64:
		return strconv.FormatUint(v.Uint64(), 10)
	case metrics.KindFloat64:
		return strconv.FormatFloat(v.Float64(), 'g', 6, 64)
	case metrics.KindFloat64Histogram:
		h := v.Float64Histogram()
		return fmt.Sprintf("%.3g/%.3g/%.3g", quantile(h, 0.5), quantile(h, 0.99), quantile(h, 1))
	}
	return ""
}

// quantile is the upper bound of the bucket in which q of all values are
// reached; 0 without any.
func quantile(h *metrics.Float64Histogram, q float64) float64 {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank, seen := uint64(math.Ceil(q*float64(total))), uint64(0)
	for i, n := range h.Counts {
		if seen += n; seen >= rank && n > 0 {
			if bound := h.Buckets[i+1]; !math.IsInf(bound, 1) {
				return bound
			}
			return h.Buckets[i]
		}
	}
	return 0
}

func allMetrics(c Call) (r Reply, err error) {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, c.Get("of")) {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	if len(samples) == 0 {
		return r, Usagef("of %s: no metric begins so", c.Get("of"))
	}
	metrics.Read(samples)
	for _, s := range samples {
		r.Data = fmt.Appendf(r.Data, "%s %s\n", s.Name, value(s.Value))
	}
	return r, nil
}

// born is when the program's packages were initialised.
var born = time.Now()

func build(Call) (r Reply, err error) {
	r.Add("go", runtime.Version())
	r.Add("platform", runtime.GOOS+"/"+runtime.GOARCH)
	r.Add("up_s", int(time.Since(born).Seconds()))
	if info, ok := debug.ReadBuildInfo(); ok {
		r.Add("path", info.Path)
		r.Add("version", info.Main.Version)
		r.Data = []byte(info.String())
	}
	return r, nil
}
