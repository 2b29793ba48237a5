// Package tune finds out which detector, with which setting, would have served
// recorded heartbeats best: how soon it would have noticed a crash, and how
// often it would have cried wolf.
//
// A trace has a line for each beat, "bt_ms ID seq", in the order in which they
// came. Its measures are those of Chen, Toueg, Aguilera: On the Quality of
// Service of Failure Detectors (2002):
//
//   - T_D, detection time: from a crash to the suspicion that does not end. Here
//     the sender crashes right after a beat, after each one in turn; that is the
//     worst moment, and the mean over all moments is half an interval less.
//   - mistakes: silences after which the next beat came after all, but which the
//     detector took for a death. λ_M is their rate, here for a day; T_MR is the
//     time from one to the next, T_M how long one lasts.
//   - P_A, query accuracy probability: the share of the time in which a sender
//     that is alive is said to be: 1 − E(T_M)/E(T_MR).
package tune

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

const (
	maxLine  = 256        // bytes; the longest valid line has 106
	maxBeats = 16_000_000 // of all traces together: 8 bytes each
)

// A Trace is what was recorded of some senders. Not for concurrent use while
// it is being added to.
type Trace struct {
	interval time.Duration // that all senders declared; 0: the median gap of each
	senders  map[string]*sender
	order    []*sender
	steps    int
	limit    int // maxBeats

	restarts int
	unseen   uint64 // beats that the recorder did not see
}

// sender is one id. Its first beat makes no step.
type sender struct {
	interval time.Duration
	bt       int64
	seq      uint64
	steps    []step
}

// step leads to a beat from the one before. A count of 0 stands for a restart.
type step struct {
	span  uint32 // milliseconds
	count uint32 // by how much seq grew; at least 1
}

// New makes an empty trace. interval is what the senders declared; 0 takes for
// each the median of its gaps.
func New(interval time.Duration) *Trace {
	return &Trace{interval: interval, senders: map[string]*sender{}, limit: maxBeats}
}

// ParseLine reads "bt_ms ID seq". The id is a part of line.
func ParseLine(line string) (bt int64, id string, seq uint64, err error) {
	first, rest, ok := strings.Cut(line, " ")
	id, last, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		return 0, "", 0, errors.New("want three words: bt_ms ID seq")
	}
	if bt, err = strconv.ParseInt(first, 10, 64); err != nil || !canonical(first) {
		return 0, "", 0, errors.New("bt_ms: want whole milliseconds")
	}
	if !heartbeat.ValidID(id) {
		return 0, "", 0, errors.New("ID: want 1 to 64 of A-Za-z0-9._- not starting with . or -")
	}
	if seq, err = strconv.ParseUint(last, 10, 64); err != nil || !canonical(last) {
		return 0, "", 0, errors.New("seq: want a whole number")
	}
	return bt, id, seq, nil
}

// canonical tells that a number is written in the one way that it is printed.
func canonical(s string) bool { return s[0] >= '1' && s[0] <= '9' || s == "0" }

// AppendLine appends a line, with its end, as ParseLine and Read take it.
func AppendLine(dst []byte, bt int64, id string, seq uint64) []byte {
	dst = append(strconv.AppendInt(dst, bt, 10), ' ')
	dst = append(append(dst, id...), ' ')
	return append(strconv.AppendUint(dst, seq, 10), '\n')
}

// A SyntaxError is a line that cannot be taken for a beat.
type SyntaxError struct {
	File string
	Line int
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Read adds the lines of r, called name in errors. Empty lines, and those that
// begin with #, say nothing. The error is a *SyntaxError, or r's own.
func (t *Trace) Read(r io.Reader, name string) error {
	b := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := b.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err == bufio.ErrBufferFull || len(line) > maxLine {
			return &SyntaxError{name, n, fmt.Sprintf("longer than %d bytes", maxLine)}
		}
		text := strings.TrimSuffix(string(line), "\n")
		if text != "" && text[0] != '#' {
			bt, id, seq, bad := ParseLine(text)
			if bad == nil {
				bad = t.Add(bt, id, seq)
			}
			if bad != nil {
				return &SyntaxError{name, n, bad.Error()}
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// Add adds a beat. One whose bt_ms or seq is less than the last one's is the
// first of a new life: what lay between was no mistake. One that repeats both
// says nothing. The error tells that the trace is longer than can be kept.
func (t *Trace) Add(bt int64, id string, seq uint64) error {
	s := t.senders[id]
	if s == nil {
		s = &sender{bt: bt, seq: seq}
		t.senders[strings.Clone(id)] = s
		t.order = append(t.order, s)
		return t.bound()
	}
	next := step{span: uint32(min(bt-s.bt, math.MaxUint32)), count: 1}
	switch {
	case bt < s.bt || seq < s.seq:
		next = step{}
		t.restarts++
	case bt == s.bt && seq == s.seq:
		return nil
	case seq > s.seq:
		next.count = uint32(min(seq-s.seq, math.MaxUint32))
		t.unseen += uint64(next.count - 1)
	}
	s.bt, s.seq = bt, seq
	s.steps = append(s.steps, next)
	t.steps++
	return t.bound()
}

// bound keeps memory within reason; an id costs as much as some beats.
func (t *Trace) bound() error {
	if t.steps+20*len(t.order) > t.limit {
		return fmt.Errorf("more than %d beats: use a part of the trace", t.limit)
	}
	return nil
}

// settle finds out the intervals, and drops those of whom there is no gap.
func (t *Trace) settle() {
	kept := t.order[:0]
	for _, s := range t.order {
		var gaps histogram
		alive := false
		for _, st := range s.steps {
			if st.count > 0 {
				gaps.add(st.gap())
				alive = alive || st.span > 0
			}
		}
		if !alive {
			continue
		}
		if s.interval = t.interval; s.interval == 0 {
			s.interval = max(s.middle(gaps.quantile(1, 2)), time.Millisecond)
		}
		kept = append(kept, s)
	}
	t.order = kept
}

// gap is the silence before the beat: the mean, if some were not seen.
func (st step) gap() time.Duration {
	return time.Duration(st.span/st.count) * time.Millisecond
}

// middle is the median gap: the mean of those which a histogram cannot tell
// from it.
func (s *sender) middle(median time.Duration) time.Duration {
	sum, n := time.Duration(0), time.Duration(0)
	for _, st := range s.steps {
		if st.count > 0 && slot(millis(st.gap())) == slot(millis(median)) {
			sum += st.gap()
			n++
		}
	}
	return sum / max(n, 1)
}
