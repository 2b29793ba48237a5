package detector

import (
	"math"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/fmt"
)

// A Kind is one way to detect, as a row of the table from which the parser, the
// usage text and the manual's check come.
type Kind struct {
	Name     string
	Summary  string
	EachBeat bool // wants to be fed each interval, to be what its paper says
	Params   []Param
	maker    func(p params) func() Detector
}

// A Param is something that can be set of a Kind.
type Param struct {
	Name    string
	Default string
	Meaning string
	unit    unit
	low     float64 // least and greatest value; of a duration, in seconds
	high    float64
}

type unit uint8

const (
	number unit = iota // such as 1.5
	count              // whole
	span               // a duration with its unit
	tails              // logistic or normal
)

// params are the values in the order of Kind.Params; a duration is in
// nanoseconds, a tail is an index in tailNames.
type params []float64

func (p params) duration(i int) time.Duration { return time.Duration(p[i]) }

var (
	tailNames = []string{"logistic", "normal"}
	tailForms = []tail{logistic, normal}
)

const day = 24 * 3600

// Kinds are all detectors; the first is the default.
var Kinds = []Kind{
	{"fixed", "dead after a number of intervals; later for some time after a long gap", false, []Param{
		{"intervals", "5", "intervals to dead", number, 0.1, 1e4},
		{"floor", "5s", "least time to dead", span, 0, day},
		{"late", "2.5", "dead is at least an interval and so many times what the longest gap exceeded one by; 0: a constant", number, 0, 1e3},
		{"half-life", "60", "beats in which half of that gap is forgotten", number, 1, 1e9},
		{"cap", "30", "most intervals to dead, and longest gap that is learned", number, 1, 1e4},
	}, func(p params) func() Detector {
		r := newFixedRule(p[0], p.duration(1), p[2], p[3], p[4])
		return func() Detector { return &Fixed{rule: r} }
	}},
	{"missed", "dead half an interval past the Kth missed beat; learns nothing", false, []Param{
		{"k", "5", "beats missed", count, 1, 1e4},
	}, func(p params) func() Detector {
		return func() Detector { return &Missed{k: uint64(p[0])} }
	}},
	{"phi", "accrual as in akka: dead when phi, -log10 of the chance of a longer gap, reaches a threshold; gaps taken for normal", true, []Param{
		{"threshold", "8", "phi at which it is dead", number, 0.1, 300},
		{"window", "1000", "gaps remembered", count, 2, maxWindow},
		{"min-std", "100ms", "least standard deviation", span, 0.001, day},
		{"pause", "3s", "added to the mean gap", span, 0, day},
		{"tail", "logistic", "logistic (akka's approximation, 8 is 5.23 deviations) or normal (exact, 5.61)", tails, 0, 0},
	}, func(p params) func() Detector {
		y := tailForms[int(p[4])].quantile(p[0])
		r := &phiRule{y: y, size: int(p[1]), minSD: p.duration(2), pause: p.duration(3)}
		return func() Detector { return &Phi{rule: r} }
	}},
	{"phi-exp", "accrual as in Cassandra: gaps taken for exponential, which makes it 2.3 times the threshold, in mean gaps", true, []Param{
		{"threshold", "8", "phi at which it is dead", number, 0.1, 1e4},
		{"window", "1000", "gaps remembered", count, 1, maxWindow},
	}, func(p params) func() Detector {
		r := &expRule{factor: p[0] * math.Ln10, size: int(p[1])}
		return func() Detector { return &PhiExp{rule: r} }
	}},
	{"chen", "dead some intervals after the time at which the last arrivals let the next one be expected", true, []Param{
		{"alpha", "4", "intervals past the expected arrival", number, 0, 1e4},
		{"window", "10", "beats remembered", count, 2, maxWindow},
	}, func(p params) func() Detector {
		r := &chenRule{alpha: p[0], size: int(p[1])}
		return func() Detector { return &Chen{rule: r} }
	}},
}

// Names lists the detectors, as in "fixed, missed, ...".
func Names() string {
	names := make([]string, len(Kinds))
	for i := range Kinds {
		names[i] = Kinds[i].Name
	}
	return strings.Join(names, ", ")
}

// Parse reads NAME or NAME:PARAM=VALUE,... and gives what makes detectors, one
// for each sender; they share the parameters. An error names what is wrong in
// spec.
func Parse(spec string) (k *Kind, newDetector func() Detector, err error) {
	name, list, _ := strings.Cut(spec, ":")
	for i := range Kinds {
		if Kinds[i].Name == name {
			p, err := Kinds[i].parse(list)
			if err != nil {
				return nil, nil, fmt.Errorf("detector %s: %w", name, err)
			}
			return &Kinds[i], Kinds[i].maker(p), nil
		}
	}
	return nil, nil, fmt.Errorf("detector %q: want one of %s", clip(name), Names())
}

func (k *Kind) parse(list string) (params, error) {
	p := make(params, len(k.Params))
	for i := range k.Params {
		v, err := k.Params[i].parse(k.Params[i].Default)
		if err != nil {
			return nil, err
		}
		p[i] = v
	}
	var given uint32
	for more := list != ""; more; {
		var item string
		item, list, more = strings.Cut(list, ",")
		name, value, _ := strings.Cut(item, "=")
		i := k.index(name)
		if i < 0 {
			return nil, fmt.Errorf("no parameter %q: want %s", clip(name), k.names())
		}
		if given&(1<<i) != 0 {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		given |= 1 << i
		v, err := k.Params[i].parse(value)
		if err != nil {
			return nil, err
		}
		p[i] = v
	}
	return p, nil
}

func (k *Kind) index(name string) int {
	for i := range k.Params {
		if k.Params[i].Name == name {
			return i
		}
	}
	return -1
}

func (k *Kind) names() string {
	var b strings.Builder
	for i := range k.Params {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.Params[i].Name)
	}
	return b.String()
}

func (p *Param) parse(text string) (v float64, err error) {
	want := fmt.Sprintf("want a number from %v to %v", p.low, p.high)
	switch p.unit {
	case number:
		v, err = strconv.ParseFloat(text, 64)
	case count:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 32)
		v, want = float64(n), "want a whole "+want[len("want a "):]
	case span:
		var d time.Duration
		d, err = time.ParseDuration(text)
		v, want = d.Seconds(), fmt.Sprintf("want a duration with its unit, from %vs to %vs", p.low, p.high)
	case tails:
		for i, name := range tailNames {
			if text == name {
				return float64(i), nil
			}
		}
		return 0, fmt.Errorf("%s=%s: want %s", p.Name, clip(text), strings.Join(tailNames, " or "))
	}
	if err != nil || !(v >= p.low && v <= p.high) {
		return 0, fmt.Errorf("%s=%s: %s", p.Name, clip(text), want)
	}
	if p.unit == span {
		v *= 1e9
	}
	return v, nil
}

// clip keeps a message short, whatever was typed.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// Usage describes all detectors with their parameters, a line for each.
func Usage() string {
	var b strings.Builder
	for i := range Kinds {
		k := &Kinds[i]
		fmt.Fprintf(&b, "%s: %s\n", k.Name, k.Summary)
		if k.EachBeat {
			b.WriteString("  (looks at each beat)\n")
		}
		for j := range k.Params {
			p := &k.Params[j]
			fmt.Fprintf(&b, "  %s=%s: %s\n", p.Name, p.Default, p.Meaning)
		}
	}
	return b.String()
}
