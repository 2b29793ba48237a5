package tune

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/pkg/detector"
)

const s = time.Second

// TestQuality counts by hand: a constant deadline of 2 s, gaps of 1, 5, 1, 2, 3,
// 1 and 1 s, a restart after the fourth.
func TestQuality(t *testing.T) {
	trace := record(t, s, "0 a 1\n1000 a 2\n6000 a 3\n7000 a 4\n9000 a 5\n100000 a 1\n103000 a 2\n104000 a 3\n105000 a 4\n")
	q := trace.try("fixed:intervals=2,floor=0s,late=0")
	want := Quality{DetectMean: 2 * s, DetectP99: 2 * s, Mistakes: 2, MistakeSum: 4 * s, Alive: 14 * s}
	if q != want {
		t.Errorf("%+v, want %+v", q, want)
	}
	if got := q.PerDay(); math.Abs(got-2.0/14*86400) > 1e-9 {
		t.Errorf("%v mistakes a day", got)
	}
	if q.MistakeMean() != 2*s || math.Abs(q.Accuracy()-10.0/14) > 1e-12 {
		t.Errorf("T_M %v, P_A %v", q.MistakeMean(), q.Accuracy())
	}
	// The paper's identity: P_A = 1 − E(T_M)/E(T_MR).
	if recurrence := q.Alive / time.Duration(q.Mistakes); math.Abs(q.Accuracy()-(1-q.MistakeMean().Seconds()/recurrence.Seconds())) > 1e-12 {
		t.Errorf("P_A %v, T_MR %v", q.Accuracy(), recurrence)
	}
}

// TestDetection: the crash comes after each beat in turn, the last one of each
// life included, and is found when the detector says then.
func TestDetection(t *testing.T) {
	// Five intervals at first; after the gap of 9 s, 1 + 2.5·8 s, then less.
	trace := record(t, s, "0 a 1\n1000 a 2\n10000 a 3\n11000 a 4\n")
	d := &detector.Fixed{}
	sum, most := 0*s, 0*s
	for i, gap := range []time.Duration{0, s, 9 * s, s} {
		if i > 0 {
			d.Learn(detector.Beats{Interval: s, Count: 1, Span: gap, Gap: gap})
		}
		sum += d.Dead(s)
		most = max(most, d.Dead(s))
	}
	q := trace.try("fixed")
	if q.DetectMean != sum/4 || q.DetectP99 != most || most != 21*s || q.Mistakes != 1 || q.MistakeSum != 4*s {
		t.Errorf("%+v; want T_D %v, at most %v", q, sum/4, most)
	}

	// A beat that was not seen is no silence.
	q = record(t, s, "0 a 1\n8000 a 9\n9000 a 10\n").try("fixed")
	if q.Mistakes != 0 || q.Alive != 9*s {
		t.Errorf("sampled: %+v", q)
	}
}

// TestIdsApart: each id has a detector and an interval of its own.
func TestIdsApart(t *testing.T) {
	one := "0 a 1\n1000 a 2\n2000 a 3\n9000 a 4\n10000 a 5\n"
	two := "0 b 1\n100000 b 2\n200000 b 3\n300000 b 4\n"
	a, b, both := record(t, 0, one), record(t, 0, two), record(t, 0, one+two)
	qa, qb, q := a.try("chen"), b.try("chen"), both.try("chen")
	if q.Mistakes != qa.Mistakes+qb.Mistakes || q.MistakeSum != qa.MistakeSum+qb.MistakeSum || q.Alive != 310*s ||
		q.DetectMean != (5*qa.DetectMean+4*qb.DetectMean)/9 || q.DetectP99 != max(qa.DetectP99, qb.DetectP99) {
		t.Errorf("%+v of %+v and %+v", q, qa, qb)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * 17 * time.Millisecond)
	}
	for _, tt := range []struct{ num, den, want uint64 }{{1, 1000, 17}, {1, 2, 500 * 17}, {99, 100, 990 * 17}, {1, 1, 17000}} {
		want := time.Duration(tt.want) * time.Millisecond
		if got := h.quantile(tt.num, tt.den); got < want || got > want+want/100 {
			t.Errorf("quantile %d/%d = %v, want %v", tt.num, tt.den, got, want)
		}
	}
	var extreme histogram
	extreme.add(0)
	extreme.add(101 * 366 * 24 * time.Hour)
	if extreme.quantile(1, 2) != 0 || extreme.quantile(1, 1) != extreme.most {
		t.Errorf("%v and %v", extreme.quantile(1, 2), extreme.quantile(1, 1))
	}
}

// synthetic is a trace of n beats of a pattern.
func synthetic(t testing.TB, name string, seed uint64, n int) *Trace {
	t.Helper()
	i := slices.IndexFunc(Patterns, func(p Pattern) bool { return p.Name == name })
	trace := New(s)
	gap := Patterns[i].Gaps(seed)
	at := time.Duration(0)
	for seq := range uint64(n) {
		if err := trace.Add(at.Milliseconds(), name, seq); err != nil {
			t.Fatal(err)
		}
		at += gap()
	}
	return trace
}

// TestPatterns: each has the mean and the share of long gaps that its
// description promises, and a seed means one trace.
func TestPatterns(t *testing.T) {
	const n = 200_000
	want := map[string]struct{ mean, over2 float64 }{
		"normal": {1, 0}, "jitter": {1, 0},
		"lognormal": {1 + 0.07*math.Exp(1.1*1.1/2), 0.0078}, // P(ln z > ln(1/0.07)/1.1)
		"pauses":    {1.002, 1e-3 * math.Exp(-0.5)},
		"pareto":    {1 + 0.005*6, math.Pow(200, -1.2)},
		"bimodal":   {1.1, 0.05},
		"periodic":  {1 + 2.5/60, 1.0 / 60},
		"storms":    {1 + 1.5/61, math.Exp(-1/1.5) / 61},
	}
	for _, p := range Patterns {
		a, b, other := p.Gaps(1), p.Gaps(1), p.Gaps(2)
		sum, over, differ := 0.0, 0, 0
		for range n {
			gap := a()
			if gap != b() {
				t.Fatalf("%s: the same seed, another trace", p.Name)
			}
			if gap != other() {
				differ++
			}
			sum += gap.Seconds()
			if gap > 2*s {
				over++
			}
		}
		w := want[p.Name]
		if mean, share := sum/n, float64(over)/n; math.Abs(mean-w.mean) > 0.01 || math.Abs(share-w.over2) > 0.3*w.over2+2e-5 {
			t.Errorf("%s: mean %.4f s, %.5f of the gaps over 2 s; want %.4f, %.5f", p.Name, mean, share, w.mean, w.over2)
		}
		if differ < n/2 {
			t.Errorf("%s: another seed, nearly the same trace", p.Name)
		}
	}
	// The numbers are ours: no version of the library changes them.
	gap := Patterns[0].Gaps(1)
	if first := []time.Duration{gap(), gap(), gap()}; !slices.Equal(first, firstOfNormal) {
		t.Errorf("the trace of seed 1 begins with %v", first)
	}
}

var firstOfNormal = []time.Duration{1010 * time.Millisecond, 1090 * time.Millisecond, 1063 * time.Millisecond}

func run(t testing.TB, trace *Trace, budgets ...float64) []Row {
	t.Helper()
	rows, err := Run(Request{Trace: trace, Budgets: budgets, Specs: []string{"phi:threshold=12"}, Stop: func() bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestSearch: of each line, the setting that meets a budget is there, and the
// next lower one, a hundredth below, does not meet it.
func TestSearch(t *testing.T) {
	trace := synthetic(t, "storms", 1, 30_000)
	rows := run(t, trace, 24)
	for i := range lines {
		l := &lines[i]
		values := l.values()
		met := -1
		for k, v := range values {
			spec := strings.Replace(l.spec, "%s", v, 1)
			if j := slices.IndexFunc(rows, func(r Row) bool { return r.Spec == spec && r.Line == l.name }); j >= 0 && rows[j].PerDay() <= 24 {
				met = k
				break
			}
		}
		switch {
		case l.name == "phi pause=0s":
			if met >= 0 {
				t.Errorf("%s keeps to 24 mistakes a day in storms", l.name)
			}
		case met < 1:
			t.Errorf("%s: no setting keeps to 24 mistakes a day", l.name)
		default:
			if q := trace.try(strings.Replace(l.spec, "%s", values[met-1], 1)); q.PerDay() <= 24 {
				t.Errorf("%s: %s would do, found %s", l.name, values[met-1], values[met])
			}
		}
	}
	defaults := 0
	for _, r := range rows {
		if r.Default {
			defaults++
		}
	}
	if last := rows[len(rows)-1]; defaults != len(detector.Kinds) || !last.Asked || last.Spec != "phi:threshold=12" || last.Line != "phi" {
		t.Errorf("%d defaults, and at last %+v", defaults, last)
	}
}

// TestLinesAreKinds: every detector is tried, and all settings can be parsed.
func TestLinesAreKinds(t *testing.T) {
	for _, k := range detector.Kinds {
		if !slices.ContainsFunc(lines, func(l line) bool { return strings.HasPrefix(l.spec, k.Name+":") }) {
			t.Errorf("%s is not tried", k.Name)
		}
	}
	for i := range lines {
		for _, v := range lines[i].values() {
			if _, _, err := detector.Parse(strings.Replace(lines[i].spec, "%s", v, 1)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBest(t *testing.T) {
	row := func(spec string, detect time.Duration, mistakes uint64) Row {
		return Row{Spec: spec, Quality: Quality{DetectMean: detect, Mistakes: mistakes, Alive: 24 * time.Hour}}
	}
	rows := []Row{row("a", 3*s, 9), row("a2", 10*s, 1), row("b", 96*s/10, 1), row("c", 9*s, 2), row("d", 20*s, 0)}
	for budget, want := range map[float64]string{0: "d", 1: "a2", 2: "c", 9: "a"} {
		if r := Best(rows, budget); r == nil || r.Spec != want {
			t.Errorf("at most %v: %+v, want %s", budget, r, want)
		}
	}
	if r := Best(rows[:4], 0); r != nil {
		t.Errorf("none was to be found, got %+v", r)
	}
}

// TestDefaultHoldsItsOwn repeats, on fewer beats and against the strongest, what
// scripts/bench detect shows: the default needs hardly more time than the best.
func TestDefaultHoldsItsOwn(t *testing.T) {
	const budget = 24
	for _, p := range Patterns {
		trace := synthetic(t, p.Name, 1, 40_000)
		trace.settle()
		req := Request{Trace: trace, Budgets: []float64{budget}, Stop: func() bool { return false }}
		need := map[string]time.Duration{}
		soonest := time.Duration(math.MaxInt64)
		for i := range lines {
			l := &lines[i]
			if l.name == "missed" || strings.HasPrefix(l.name, "phi") {
				continue
			}
			for _, r := range req.search(l) {
				if r.PerDay() <= budget {
					need[l.name] = r.DetectMean
					soonest = min(soonest, r.DetectMean)
					break
				}
			}
		}
		most := soonest + soonest/12
		if p.Name == "bimodal" || p.Name == "periodic" {
			most = soonest * 3 / 2 // it takes for lateness what comes again and again
		}
		if got := need["fixed"]; got == 0 || got > most {
			t.Errorf("%s: fixed needs %v, the best %v", p.Name, got, soonest)
		}
	}
}

func TestAdvice(t *testing.T) {
	trace := synthetic(t, "pauses", 1, 10_000)
	rows := run(t, trace, 24, 576)
	text, ok := trace.Advice(nil, rows, 24)
	for _, want := range []string{
		"For at most 24 mistakes a day: -detector ", "As plain numbers: -timeout ", " -suspect ", "The default (fixed) finds a crash in 5.",
		"All this is of 1 sender, 10000 beats, 0.116 days in sum, the longest silence ", "there may still be up to 25.9 a day",
	} {
		if !ok || !strings.Contains(string(text), want) {
			t.Errorf("%v, no %q in\n%s", ok, want, text)
		}
	}
	text, ok = trace.Advice(nil, rows[:1], 0)
	if ok || !strings.HasPrefix(string(text), "Nothing that was tried makes at most 0 mistakes a day here.\n") {
		t.Errorf("%v\n%s", ok, text)
	}

	mixed := record(t, 0, "0 a 1\n1000 a 2\n2000 a 3\n0 b 1\n60000 b 2\n120000 b 9\n5 b 1\n60005 b 2\n")
	text, _ = mixed.Advice(nil, run(t, mixed, 1, 24), 1)
	for _, want := range []string{"No -timeout fits all: these ids beat at intervals from 1 s to 60 s.", "1 restart left out", "6 beats were not seen"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestFigures(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 1: "1", 0.0864: "0.0864", 0.999: "0.999", 1.234: "1.23", 12.34: "12.3", 99.96: "100", 1234.5: "1234", 24: "24", 0.5: "0.500"} {
		if got := digits(x); got != want {
			t.Errorf("digits(%v) = %s, want %s", x, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		1105 * time.Millisecond: "1.2s", 12_300 * time.Millisecond: "13s", 10 * time.Second: "10s", 45 * time.Millisecond: "45ms",
		101 * time.Millisecond: "110ms", 3 * time.Hour: "3h3m20s",
	} {
		if got := roundUp(d); got != want {
			t.Errorf("roundUp(%v) = %s, want %s", d, got, want)
		}
	}
}

// TestStop: a caller who has lost patience is heard.
func TestStop(t *testing.T) {
	trace := synthetic(t, "normal", 1, 1000)
	if _, err := Run(Request{Trace: trace, Budgets: []float64{1}, Stop: func() bool { return true }}); err != nil {
		t.Error(err)
	}
	if _, err := Run(Request{Trace: New(0), Stop: func() bool { return false }}); err == nil {
		t.Error("nothing to replay: no error")
	}
	if _, err := Run(Request{Trace: trace, Specs: []string{"phi:x"}, Stop: func() bool { return false }}); err == nil {
		t.Error("no detector: no error")
	}
}
