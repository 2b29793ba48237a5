package detector

import (
	"math"
	"math/bits"
	"time"
)

// window remembers the last gaps of a sender, at most size of them, with their
// sum and the sum of their squares. All is in whole milliseconds, so that the
// sums are exact however long they run: E[x²]−μ² in floating nanoseconds has
// lost all its digits after some thousand beats. 4 bytes for each gap, taken
// as the gaps come.
type window struct {
	gaps []uint32
	size int
	next int    // where the oldest is, once the window is full
	sum  uint64 // < 2^32 · maxWindow
	high uint64 // of the sum of squares, 128 bits
	low  uint64
}

// maxWindow keeps the sums within their types.
const maxWindow = 10_000

// milli is d in whole milliseconds, at most 49 days.
func milli(d time.Duration) uint32 {
	return uint32(min(max(d, 0).Milliseconds(), math.MaxUint32))
}

func (w *window) reset(size int) {
	*w = window{gaps: w.gaps[:0], size: size}
}

func (w *window) add(gap time.Duration) {
	ms := milli(gap)
	if len(w.gaps) < w.size {
		w.gaps = append(w.gaps, ms)
	} else {
		old := uint64(w.gaps[w.next])
		w.sum -= old
		var borrow uint64
		w.low, borrow = bits.Sub64(w.low, old*old, 0)
		w.high -= borrow
		w.gaps[w.next] = ms
		if w.next++; w.next == w.size {
			w.next = 0
		}
	}
	w.sum += uint64(ms)
	var carry uint64
	w.low, carry = bits.Add64(w.low, uint64(ms)*uint64(ms), 0)
	w.high += carry
}

// moments gives the mean and the standard deviation, that of a population, in
// milliseconds.
func (w *window) moments() (mean, sd float64) {
	n := uint64(len(w.gaps))
	if n == 0 {
		return 0, 0
	}
	// n·Σx² − (Σx)², which is not negative.
	hi, lo := bits.Mul64(w.low, n)
	hi += w.high * n
	sqHi, sqLo := bits.Mul64(w.sum, w.sum)
	lo, borrow := bits.Sub64(lo, sqLo, 0)
	hi, _ = bits.Sub64(hi, sqHi, borrow)
	f := float64(n)
	return float64(w.sum) / f, math.Sqrt(float64(hi)*(1<<64)+float64(lo)) / f
}
