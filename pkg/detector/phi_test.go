package detector

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*math.Abs(b) }

// TestPhiVectors pins both tails. The logistic ones are those of akka's formula,
// computed apart from this code; where akka's own is infinite, they are its
// limit. They tell the two apart: 4.7367 and 4.4993 for the same silence.
func TestPhiVectors(t *testing.T) {
	for _, tt := range []struct {
		t, mean, sd float64
		form        tail
		want        float64
	}{
		{1000, 1000, 100, logistic, 0.301029995664},
		{1200, 1000, 100, logistic, 1.64282788549},
		{1400, 1000, 100, logistic, 4.73669458271},
		{1600, 1000, 100, logistic, 10.7826008583},
		{1700, 1000, 100, logistic, 15.3685256226},
		{10, 0, 1, logistic, 37.5847130529},
		{1000, 1000, 100, normal, 0.301029995664},
		{1400, 1000, 100, normal, 4.4993},
	} {
		tolerance := 1e-11
		if tt.want == 4.4993 {
			tolerance = 1e-5
		}
		if got := tt.form((tt.t - tt.mean) / tt.sd); !near(got, tt.want, tolerance) {
			t.Errorf("phi(%v; %v, %v) = %.12g, want %.12g", tt.t, tt.mean, tt.sd, got, tt.want)
		}
	}
	for _, tt := range []struct {
		form tail
		want float64
	}{{logistic, 5.2260}, {normal, 5.6120}} {
		if got := tt.form.quantile(8); !near(got, tt.want, 1e-5) {
			t.Errorf("quantile(8) = %.6g, want %.6g", got, tt.want)
		}
	}
}

// TestPhiEverywhere: finite, never falling, and its quantile is its inverse.
func TestPhiEverywhere(t *testing.T) {
	for name, f := range map[string]tail{"logistic": logistic, "normal": normal} {
		last := -1.0
		for y := -1e4; y < 1e4; y += 0.25 {
			phi := f(y)
			if math.IsNaN(phi) || math.IsInf(phi, 0) || phi < last {
				t.Fatalf("%s(%v) = %v, after %v", name, y, phi, last)
			}
			last = phi
		}
		for _, threshold := range []float64{0.1, 0.30103, 1, 8, 16, 100, 299} {
			if y := f.quantile(threshold); !near(f(y), threshold, 1e-9) {
				t.Errorf("%s(quantile(%v)) = %v", name, threshold, f(y))
			}
		}
	}
}

func build(t testing.TB, spec string) Detector {
	t.Helper()
	_, newDetector, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return newDetector()
}

// TestPhiLikeAkka goes through what akka's PhiAccrualFailureDetector does.
func TestPhiLikeAkka(t *testing.T) {
	const z = 5.2260
	want := func(d Detector, interval time.Duration, ms float64) {
		t.Helper()
		if got := float64(d.Dead(interval)) / 1e6; !near(got, ms, 1e-4) {
			t.Errorf("dead after %v ms, want %v", got, ms)
		}
	}
	d := build(t, "phi:pause=0s")
	want(d, s, 1000+250*z) // two gaps, of 3/4 and 5/4
	d.Learn(one(s))
	want(d, s, 1000+math.Sqrt(2*250*250/3.0)*z) // the variance of a population: divided by n
	for range 1000 {
		d.Learn(one(s))
	}
	want(d, s, 1000+100*z) // the least deviation

	dead := d.Dead(s)
	d.Learn(one(dead))
	d.Learn(one(time.Hour))
	want(d, s, 1000+100*z) // phi had reached the threshold: not learned
	d.Learn(one(dead - ms))
	if d.Dead(s) <= dead {
		t.Errorf("a gap short of the threshold was not learned: dead after %v", d.Dead(s))
	}

	want(build(t, "phi"), s, 4000+250*z) // the pause, on top
	want(build(t, "phi:pause=0s,tail=normal"), s, 1000+250*5.6120)

	// Another interval: what was learned is void, before and after the next beat.
	want(d, 10*s, 10_000+2500*z)
	d.Learn(Beats{Interval: 10 * s, Count: 1, Span: 10 * s, Gap: 10 * s})
	want(d, 10*s, 10_000+math.Sqrt(2*2500*2500/3.0)*z)
}

func TestPhiExpLikeCassandra(t *testing.T) {
	d := build(t, "phi-exp")
	if got := d.Dead(s).Seconds(); !near(got, 2*18.4207, 1e-5) {
		t.Errorf("nothing learned: %v s", got)
	}
	d.Learn(one(s))
	d.Learn(one(2*s + ms)) // over twice the interval: not learned
	if got := d.Dead(s).Seconds(); !near(got, 1.5*18.4207, 1e-5) {
		t.Errorf("one of 2 s and one of 1 s: %v s", got)
	}
	for range 2000 {
		d.Learn(one(s))
	}
	if got := d.Dead(s).Seconds(); !near(got, 18.4207, 1e-5) {
		t.Errorf("a window of 1 s: %v s", got)
	}
	d.Learn(Beats{Interval: s, Count: 1000, Span: 500 * s, Gap: 30 * s}) // of a batch, the mean
	if got, want := d.Dead(s).Seconds(), 18.4207*(999+0.5)/1000; !near(got, want, 1e-5) {
		t.Errorf("after a batch: %v s, want %v", got, want)
	}
}

// TestWindowIsExact compares it with whole numbers of any size.
func TestWindowIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 9))
	for _, size := range []int{1, 2, 7, 1000, maxWindow} {
		var w window
		w.reset(size)
		var all []int64
		for i := range 3 * size {
			gap := int64(math.MaxUint32) - rnd.Int64N(1000) // long, and nearly the same
			if i%5 == 0 {
				gap = rnd.Int64N(1000)
			}
			all = append(all, gap)
			w.add(time.Duration(gap) * ms)
		}
		all = all[len(all)-size:]
		sum, squares := new(big.Int), new(big.Int)
		for _, x := range all {
			b := big.NewInt(x)
			sum.Add(sum, b)
			squares.Add(squares, b.Mul(b, b))
		}
		n := big.NewInt(int64(size))
		v := squares.Mul(squares, n)
		v.Sub(v, new(big.Int).Mul(sum, sum))
		variance, _ := new(big.Float).SetInt(v).Float64()
		total, _ := new(big.Float).SetInt(sum).Float64()
		wantMean, wantSD := total/float64(size), math.Sqrt(variance)/float64(size)
		if mean, sd := w.moments(); !near(mean, wantMean, 1e-14) || !near(sd, wantSD, 1e-12) {
			t.Errorf("%d: mean %v, deviation %v; want %v, %v", size, mean, sd, wantMean, wantSD)
		}
		if len(w.gaps) != size || cap(w.gaps) > 2*size+16 {
			t.Errorf("%d: %d gaps kept, room for %d", size, len(w.gaps), cap(w.gaps))
		}
	}
}
