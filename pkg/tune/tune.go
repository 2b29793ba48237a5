package tune

import (
	"strconv"
	"strings"
	"time"

	"vigil/pkg/detector"
	"vigil/pkg/fmt"
)

// A Row is one setting of one detector, and how it fared.
type Row struct {
	Line    string // the detector, with what sets it apart from others of its kind
	Spec    string // as detector.Parse takes it
	Default bool   // what the detector does when it is not told otherwise
	Asked   bool   // the caller wanted this one
	Minor   bool   // tried only on the way to a better one
	Quality
}

// line is a detector with one knob, whose values rise: the higher, the later and
// the fewer mistakes.
type line struct {
	name string
	spec string // %s is the value
	from float64
	to   float64

	stride float64 // from one value that is tried anyway to the next
}

// lines are what is tried. A constant needs no detector: it is -timeout.
var lines = []line{
	{"constant", "fixed:intervals=%s,floor=0s,late=0", 1.02, 200, 1.6},
	{"fixed", "fixed:intervals=%s,floor=0s", 1.02, 200, 1.6},
	{"missed", "missed:k=%s", 1, 200, 1.6},
	{"phi pause=0s", "phi:threshold=%s,pause=0s", 0.3, 300, 3},
	{"phi", "phi:threshold=%s", 0.1, 300, 3},
	{"phi-exp", "phi-exp:threshold=%s", 0.44, 90, 1.6},
	{"chen", "chen:alpha=%s", 0.02, 200, 1.6},
}

const ratio = 1.01 // from one value of a knob to the next

// values are all that a knob may have, as text: three digits and a bit, and
// whole numbers where the knob counts.
func (l *line) values() []string {
	var list []string
	for x := l.from; x <= l.to; x *= ratio {
		text := strconv.FormatFloat(x, 'g', 4, 64)
		if l.name == "missed" {
			text = strconv.Itoa(int(x))
		}
		if len(list) == 0 || list[len(list)-1] != text {
			list = append(list, text)
		}
	}
	return list
}

// A Request says what to look for.
type Request struct {
	Trace   *Trace
	Budgets []float64 // mistakes a day: for each, every detector's soonest setting is found
	Specs   []string  // settings to try besides
	Stop    func() bool
}

// Run replays the trace through every detector, and gives a row for each
// setting, those of a line together and in rising order. A budget is met by the
// last setting, counted from the top, that keeps to it. Detectors are tried at
// the same time, on all processors. The error says that there is nothing to
// replay, or that a spec is not one.
func Run(req Request) ([]Row, error) {
	t := req.Trace
	t.settle()
	if len(t.order) == 0 {
		return nil, fmt.Errorf("no two beats of one id, bt_ms apart")
	}
	var extra []Row
	for i := range detector.Kinds {
		extra = append(extra, Row{Line: detector.Kinds[i].Name, Spec: detector.Kinds[i].Name, Default: true})
	}
	for _, spec := range req.Specs {
		k, _, err := detector.Parse(spec)
		if err != nil {
			return nil, err
		}
		extra = append(extra, Row{Line: k.Name, Spec: spec, Asked: true})
	}
	tables := make([][]Row, len(lines)+1)
	done := make(chan struct{})
	for i := range lines {
		go func() {
			tables[i] = req.search(&lines[i])
			done <- struct{}{}
		}()
	}
	for i := range extra {
		if !req.Stop() {
			extra[i].Quality = t.try(extra[i].Spec)
		}
	}
	tables[len(lines)] = extra
	for range lines {
		<-done
	}
	var rows []Row
	for _, table := range tables {
		rows = append(rows, table...)
	}
	return rows, nil
}

// try replays the trace through a detector that is known to be one.
func (t *Trace) try(spec string) Quality {
	_, newDetector, err := detector.Parse(spec)
	if err != nil {
		return Quality{}
	}
	return t.replay(newDetector)
}

// search tries the settings of a line, coarsely, and then closely where the
// budgets are.
func (req *Request) search(l *line) []Row {
	values := l.values()
	rows := make([]*Row, len(values))
	try := func(i int) *Row {
		if rows[i] == nil {
			spec := strings.Replace(l.spec, "%s", values[i], 1)
			rows[i] = &Row{Line: l.name, Spec: spec, Minor: true}
			if !req.Stop() {
				rows[i].Quality = req.Trace.try(spec)
			}
		}
		return rows[i]
	}
	var coarse []int
	next := 0.0
	for i, text := range values {
		if x, _ := strconv.ParseFloat(text, 64); x >= next || i == len(values)-1 {
			next = x * l.stride
			coarse = append(coarse, i)
			try(i).Minor = false
		}
	}
	for _, budget := range req.Budgets {
		// From the top, so that what keeps to the budget by chance, below settings
		// that do not, is not taken for good.
		low, high := -1, len(values)
		for k := len(coarse) - 1; k >= 0; k-- {
			if low = coarse[k]; try(low).PerDay() > budget {
				break
			}
			low, high = -1, low
		}
		for high < len(values) && high-low > 1 {
			if mid := (low + high) / 2; try(mid).PerDay() <= budget {
				high = mid
			} else {
				low = mid
			}
		}
		if high < len(values) {
			rows[high].Minor = false
		}
	}
	var list []Row
	for _, r := range rows {
		if r != nil {
			list = append(list, *r)
		}
	}
	return list
}

// Best is the row that finds a crash soonest, on average, and makes no more
// mistakes a day than the budget. A row that comes earlier wins, if it is less
// than 5 % slower: lines are in the order of their simplicity. nil: there is none.
func Best(rows []Row, budget float64) *Row {
	soonest := time.Duration(-1)
	for i := range rows {
		if r := &rows[i]; r.PerDay() <= budget && (soonest < 0 || r.DetectMean < soonest) {
			soonest = r.DetectMean
		}
	}
	for i := range rows {
		if r := &rows[i]; r.PerDay() <= budget && r.DetectMean <= soonest+soonest/20 {
			return r
		}
	}
	return nil
}
