package tune

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Pattern is a way in which beats of a sender come that means one second: a
// row of the table of synthetic traces.
type Pattern struct {
	Name    string
	Summary string
	gaps    func(r random) func() float64 // seconds from beat to beat
}

// random is a source of numbers of some distributions. It is written out so that
// a seed means the same trace for ever, and without the tables of math/rand.
type random struct{ pcg *rand.PCG }

// uniform is in [0,1).
func (r random) uniform() float64 { return float64(r.pcg.Uint64()>>11) / (1 << 53) }

// exponential has a mean of 1.
func (r random) exponential() float64 { return -math.Log(1 - r.uniform()) }

// normal has a mean of 0 and a variance of 1: the polar method of Marsaglia.
func (r random) normal() float64 {
	for {
		x, y := 2*r.uniform()-1, 2*r.uniform()-1
		if s := x*x + y*y; s > 0 && s < 1 {
			return x * math.Sqrt(-2*math.Log(s)/s)
		}
	}
}

// Patterns are all synthetic traces. Rates and sizes are in beats and seconds.
var Patterns = []Pattern{
	{"normal", "normal, 1 s, standard deviation 50 ms", func(r random) func() float64 {
		return func() float64 { return 1 + 0.05*r.normal() }
	}},
	{"jitter", "uniform, 1 s ± 10 %", func(r random) func() float64 {
		return func() float64 { return 0.9 + 0.2*r.uniform() }
	}},
	{"lognormal", "1 s and a lognormal delay: median 70 ms, sigma 1.1", func(r random) func() float64 {
		return func() float64 { return 1 + 0.07*math.Exp(1.1*r.normal()) }
	}},
	{"pauses", "1 s ± 5 %, and at one beat in 1000 a pause, exponential of mean 2 s", func(r random) func() float64 {
		return func() float64 {
			gap := 0.95 + 0.1*r.uniform()
			if r.uniform() < 1e-3 {
				gap += 2 * r.exponential()
			}
			return gap
		}
	}},
	{"pareto", "1 s and a Pareto delay: at least 5 ms, index 1.2 (no variance)", func(r random) func() float64 {
		return func() float64 { return 1 + 0.005*math.Exp(r.exponential()/1.2) }
	}},
	{"bimodal", "1 s ± 5 %, and one beat in ten 1 s later, ± 0.3 s", func(r random) func() float64 {
		return func() float64 {
			if r.uniform() < 0.1 {
				return 2 + 0.3*(2*r.uniform()-1)
			}
			return 0.95 + 0.1*r.uniform()
		}
	}},
	{"periodic", "1 s, standard deviation 50 ms, and 2.5 s more at every 60th beat", func(r random) func() float64 {
		n := 0
		return func() float64 {
			gap := 1 + 0.05*r.normal()
			if n++; n%60 == 0 {
				gap += 2.5
			}
			return gap
		}
	}},
	{"storms", "1 s ± 5 %; about one storm in 3600 beats, of 60 on average, late by an exponential delay of mean 1.5 s", func(r random) func() float64 {
		storm := false
		return func() float64 {
			if storm {
				storm = r.uniform() >= 1.0/60
			} else {
				storm = r.uniform() < 1.0/3600
			}
			gap := 0.95 + 0.1*r.uniform()
			if storm {
				gap += 1.5 * r.exponential()
			}
			return gap
		}
	}},
}

// Gaps gives the times from beat to beat, in whole milliseconds, the same for
// the same seed.
func (p *Pattern) Gaps(seed uint64) func() time.Duration {
	next := p.gaps(random{rand.NewPCG(seed, 0)})
	return func() time.Duration {
		return time.Duration(math.Round(1000*min(max(next(), 0.001), 1e6))) * time.Millisecond
	}
}
