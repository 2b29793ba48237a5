package tune

import (
	"math/bits"
	"time"

	"vigil/pkg/detector"
)

// Quality is how a detector, with one setting, fared in a trace.
type Quality struct {
	DetectMean time.Duration // T_D
	DetectP99  time.Duration
	Mistakes   uint64
	MistakeSum time.Duration // sum of T_M
	Alive      time.Duration // for which senders were seen alive, summed over them
}

// PerDay is the rate of mistakes for each sender: λ_M.
func (q *Quality) PerDay() float64 {
	return float64(q.Mistakes) / q.Alive.Hours() * 24
}

// MistakeMean is E(T_M), 0 where there were none.
func (q *Quality) MistakeMean() time.Duration {
	return q.MistakeSum / time.Duration(max(q.Mistakes, 1))
}

// Accuracy is P_A.
func (q *Quality) Accuracy() float64 {
	return 1 - q.MistakeSum.Seconds()/q.Alive.Seconds()
}

// replay feeds each sender's beats to a detector of its own.
func (t *Trace) replay(newDetector func() detector.Detector) Quality {
	var q Quality
	var h histogram
	var detect float64 // sum of T_D in ns: more than an int64 may hold
	for _, s := range t.order {
		d := newDetector()
		dead := d.Dead(s.interval)
		for _, st := range s.steps {
			detect += float64(dead)
			h.add(dead)
			if st.count == 0 {
				continue
			}
			// Beats that the recorder did not see came evenly, as far as it knows.
			span, gap := time.Duration(st.span)*time.Millisecond, st.gap()
			q.Alive += span
			if gap > dead {
				q.Mistakes++
				q.MistakeSum += gap - dead
			}
			d.Learn(detector.Beats{Interval: s.interval, Count: uint64(st.count), Span: span, Gap: gap})
			dead = d.Dead(s.interval)
		}
		detect += float64(dead)
		h.add(dead)
	}
	q.DetectMean = time.Duration(detect / float64(h.n))
	q.DetectP99 = h.quantile(99, 100)
	return q
}

// histogram counts times in whole milliseconds, rounded up; those over 127 ms
// with an error under 1 %.
type histogram struct {
	n     uint64
	most  time.Duration
	count [64 << 6]uint64
}

// slot keeps the seven leading bits of v.
func slot(v uint64) int {
	if v < 128 {
		return int(v)
	}
	shift := bits.Len64(v) - 7
	return shift<<6 + int(v>>shift)
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.most = max(h.most, d)
	h.count[slot(millis(d))]++
}

// millis rounds up.
func millis(d time.Duration) uint64 { return uint64((d + time.Millisecond - 1) / time.Millisecond) }

// quantile is the least time that num/den of all are not above; of those that
// share a slot, the greatest possible.
func (h *histogram) quantile(num, den uint64) time.Duration {
	want := (h.n*num + den - 1) / den
	seen := uint64(0)
	for v := uint64(0); ; {
		seen += h.count[slot(v)]
		width := uint64(1)
		if v >= 128 {
			width = 1 << (bits.Len64(v) - 7)
		}
		if seen >= want {
			return min(time.Duration(v+width-1)*time.Millisecond, h.most)
		}
		v += width
	}
}
