package detector

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for spec, dead := range map[string]time.Duration{
		"fixed":                       5 * s,
		"fixed:":                      5 * s,
		"fixed:intervals=7.5":         7500 * ms,
		"fixed:floor=0s,intervals=2":  2 * s,
		"fixed:intervals=60":          60 * s, // the cap is not in its way
		"missed":                      5500 * ms,
		"missed:k=1":                  1500 * ms,
		"chen:alpha=0":                s,
		"phi-exp:threshold=4.3429448": 20 * s,
		"fixed:half-life=1e9,late=0,cap=1,intervals=0.1,floor=24h": 24 * time.Hour,
	} {
		if got := build(t, spec).Dead(s); got.Round(ms) != dead {
			t.Errorf("%s: dead after %v, want %v", spec, got, dead)
		}
	}
	for spec, want := range map[string]string{
		"":                      `detector "": want one of fixed, missed, phi, phi-exp, chen`,
		"Phi":                   `detector "Phi": want one of fixed, missed, phi, phi-exp, chen`,
		"phi=8":                 `detector "phi=8": want one of fixed, missed, phi, phi-exp, chen`,
		"missed:5":              `detector missed: no parameter "5": want k`,
		"missed:k":              `detector missed: k=: want a whole number from 1 to 10000`,
		"missed:k=5.5":          `detector missed: k=5.5: want a whole number from 1 to 10000`,
		"missed:k=0":            `detector missed: k=0: want a whole number from 1 to 10000`,
		"missed:k=3,k=4":        `detector missed: k is given twice`,
		"missed:k=3,":           `detector missed: no parameter "": want k`,
		"phi:threshold=NaN":     `detector phi: threshold=NaN: want a number from 0.1 to 300`,
		"phi:threshold=inf":     `detector phi: threshold=inf: want a number from 0.1 to 300`,
		"phi:window=1000000000": `detector phi: window=1000000000: want a whole number from 2 to 10000`,
		"phi:pause=3":           `detector phi: pause=3: want a duration with its unit, from 0s to 86400s`,
		"phi:tail=student":      `detector phi: tail=student: want logistic or normal`,
		"chen:alpha=-1":         `detector chen: alpha=-1: want a number from 0 to 10000`,
		"fixed:" + strings.Repeat("x", 100): `detector fixed: no parameter "` + strings.Repeat("x", 40) +
			`...": want intervals, floor, late, half-life, cap`,
	} {
		if _, _, err := Parse(spec); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", spec, err, want)
		}
	}
}

// TestUsageIsWhole: the usage text is as good as its table.
func TestUsageIsWhole(t *testing.T) {
	text := Usage()
	for _, k := range Kinds {
		if !strings.Contains(text, k.Name+": "+k.Summary+"\n") {
			t.Errorf("usage says nothing of %s", k.Name)
		}
		var spec []string
		for _, p := range k.Params {
			spec = append(spec, p.Name+"="+p.Default)
			if !strings.Contains(text, "  "+p.Name+"="+p.Default+": "+p.Meaning+"\n") {
				t.Errorf("usage says nothing of %s", p.Name)
			}
		}
		// The defaults, spelled out, are the defaults.
		a, b := build(t, k.Name), build(t, k.Name+":"+strings.Join(spec, ","))
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			if a.Dead(s) != b.Dead(s) {
				t.Fatalf("%s: dead after %v, and %v with the defaults spelled out", k.Name, a.Dead(s), b.Dead(s))
			}
			gap := s + time.Duration(rnd.ExpFloat64()*float64(s))
			a.Learn(one(gap))
			b.Learn(one(gap))
		}
	}
	var zero Fixed
	if zero.Dead(s) != build(t, Kinds[0].Name).Dead(s) {
		t.Error("the zero Fixed is not the default")
	}
}

// TestExtremes: whatever the interval and the gaps, the deadline is a time, and
// memory is bounded.
func TestExtremes(t *testing.T) {
	durations := []time.Duration{0, 1, ms, s, time.Hour, longest, 10 * longest, 1<<63 - 1}
	counts := []uint64{1, 2, 1000, 1 << 32, 1<<64 - 1}
	for _, k := range Kinds {
		rnd := rand.New(rand.NewPCG(3, 4))
		d := build(t, k.Name)
		for range 20_000 {
			pick := func() time.Duration { return durations[rnd.IntN(len(durations))] }
			interval := max(pick(), 1)
			d.Learn(Beats{Interval: interval, Count: counts[rnd.IntN(len(counts))], Span: pick(), Gap: pick()})
			for _, i := range []time.Duration{interval, max(pick(), 1)} {
				if dead := d.Dead(i); dead < 0 || dead > 101*longest {
					t.Fatalf("%s: dead after %v at intervals of %v", k.Name, dead, i)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range Kinds {
		f.Add(k.Name)
	}
	f.Add("phi:threshold=8,window=1000,min-std=100ms,pause=3s,tail=normal")
	f.Add("fixed:intervals=1e3,floor=1h,late=0,half-life=1,cap=9999.5")
	f.Fuzz(func(t *testing.T, spec string) {
		k, newDetector, err := Parse(spec)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("%q: %v", spec, err)
			}
			return
		}
		if !strings.HasPrefix(spec, k.Name) {
			t.Errorf("%q is taken for %s", spec, k.Name)
		}
		d := newDetector()
		for i := range 30 {
			d.Learn(one(time.Duration(i%7) * 300 * ms))
			if dead := d.Dead(s); dead < 0 || dead > 101*longest {
				t.Errorf("%q: dead after %v", spec, dead)
			}
		}
	})
}

func TestSuspect(t *testing.T) {
	for _, tt := range []struct{ interval, dead, want time.Duration }{
		{s, 5 * s, 3 * s},
		{s, 10 * s, 6 * s},
		{s, 2 * s, 1500 * ms}, // not before the beat that is due
		{s, s, 600 * ms},      // dead before a beat is due
		{10 * s, s, 600 * ms},
		{100 * ms, 5 * s, 3 * s},
		{s, 7, 4},
	} {
		if got := Suspect(tt.interval, tt.dead); got != tt.want {
			t.Errorf("interval %v, dead %v: suspect %v, want %v", tt.interval, tt.dead, got, tt.want)
		}
	}
}
