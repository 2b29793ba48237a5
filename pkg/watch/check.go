package watch

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/jsonline"
)

// Report is what one check found of one id.
type Report struct {
	ID       string
	State    State
	Changed  bool          // it is another one than the memory had
	Reason   string        // "" where all is well
	Read     bool          // a record was read: Seq, PID and Status count
	Beaten   bool          // Age counts
	Age      time.Duration // since the last beat
	Late     time.Duration // since it is suspect; 0 when it is not
	Deadline time.Duration // the Age at which it is dead
	Seq      uint64
	PID      int
	Status   string
}

// Check looks once and gives the worst first, and among equals in the order of
// their ids. It may take 20 ms longer than the reading, for files that seem
// half-written. With a memory, each change since the last check is emitted, and
// what is found is remembered.
func (w *Watcher) Check() ([]*Report, error) {
	if w.holds != nil {
		w.poll()
	}
	var faults []error
	for i, s := range w.sources {
		names, err := s.list(w.opt.Log, w.settled(int32(i)))
		if err != nil {
			faults = append(faults, err)
		}
		w.find(int32(i), names)
	}
	keys := make([]int32, 0, len(w.core.entries))
	for key := range w.core.entries {
		keys = append(keys, int32(key))
	}
	w.lap(w.now())
	stalled := w.sweep(keys)
	if stalled {
		stalled = w.sweep(keys) // once more: the stall may have been a short one
	}
	if !stalled {
		w.wonder(keys)
	}
	reports := make([]*Report, 0, len(keys))
	for _, key := range keys {
		e := w.core.entries[key]
		if w.memory != nil && e.missing && w.core.forgettable(e, e.visited) {
			w.core.forget(key) // but a file that lies there would be found again
			continue
		}
		if !e.missing || e.expected || e.beaten {
			reports = append(reports, w.report(e, stalled))
		}
	}
	w.remember(true)
	slices.SortFunc(reports, func(a, b *Report) int {
		return cmp.Or(States[b.State].rank-States[a.State].rank, strings.Compare(a.ID, b.ID))
	})
	return reports, errors.Join(faults...)
}

// sweep reads all files, again those that may have been caught half-written,
// and tells whether this process was stalled meanwhile.
func (w *Watcher) sweep(keys []int32) (stalled bool) {
	before := w.stalls
	torn := slices.Clone(keys)
	for range looks {
		torn = slices.DeleteFunc(torn, func(key int32) bool { return !w.read(key) })
		if len(torn) == 0 {
			break
		}
		time.Sleep(retryAfter)
		w.lap(w.now())
	}
	return w.stalls > before
}

func (w *Watcher) report(e *entry, stalled bool) *Report {
	now := e.visited
	v := w.core.overruled(e, w.core.evaluate(e, now))
	if stalled && v.timed {
		v = verdict{state: Unknown, reason: reasonStall}
	}
	was := e.state
	if w.memory != nil && v.reason != reasonStall {
		w.core.settle(e, v, now)
	}
	dead, suspect := w.core.deadlines(e)
	r := &Report{ID: e.id, State: v.state, Reason: v.reason, Changed: e.state != was, Deadline: dead, PID: int(e.pid), Seq: e.seq}
	if e.origin != nowhere {
		r.Read, r.Status = true, e.status.String()
	}
	if e.beaten {
		r.Beaten, r.Age = true, now-e.beat
		if v.state == Suspect || v.state == Dead {
			r.Late = max(r.Age-suspect, 0)
		}
	}
	if r.Reason == "" && v.state != Alive {
		r.Reason = reasonStatus
	}
	return r
}

// Worst is the exit code of a check: that of the worst state, and unknown when
// nothing at all was found.
func Worst(reports []*Report) int {
	if len(reports) == 0 {
		return States[Unknown].Code
	}
	// Sorted: but among those with the same code, any will do.
	return States[reports[0].State].Code
}

// Reaches tells whether the worst of the reports is this bad, or worse; where
// nothing at all was found, that is unknown.
func Reaches(reports []*Report, state State) bool {
	worst := Unknown
	if len(reports) > 0 {
		worst = reports[0].State
	}
	return !state.Worse(worst)
}

// Append writes the report as one line of JSON, without the line feed. What is
// not known is null.
func (r *Report) Append(w *jsonline.Writer) {
	w.Object("")
	w.Str("id", r.ID)
	w.Str("state", r.State.String())
	known(w, "age_ms", r.Beaten, r.Age.Milliseconds())
	w.Int("deadline_ms", r.Deadline.Milliseconds())
	if r.Read {
		w.Uint("seq", r.Seq)
		w.Str("status", r.Status)
	} else {
		w.Null("seq")
		w.Null("status")
	}
	known(w, "pid", r.PID > 0, int64(r.PID))
	w.Str("reason", r.Reason)
	w.End()
}

// Table gives the reports for people: aligned, with a line of headings.
func Table(reports []*Report) []byte {
	rows := [][]string{{"ID", "STATE", "AGE", "DEADLINE", "SEQ", "PID", "STATUS", "REASON"}}
	for i := range reports {
		rows = append(rows, reports[i].cells())
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var b []byte
	for _, row := range rows {
		for i, cell := range row {
			b = append(b, cell...)
			if i < len(row)-1 {
				for n := len(cell); n < width[i]+2; n++ {
					b = append(b, ' ')
				}
			}
		}
		b = append(b, '\n')
	}
	return b
}

// cells holds words of ours, ids and numbers: nothing to escape.
func (r *Report) cells() []string {
	age, seq, pid, status, reason := "-", "-", "-", "-", "-"
	if r.Beaten {
		age = brief(r.Age)
	}
	if r.Read {
		seq, status = strconv.FormatUint(r.Seq, 10), r.Status
	}
	if r.PID > 0 {
		pid = strconv.Itoa(r.PID)
	}
	if r.Reason != "" {
		reason = r.Reason
	}
	if r.Late > 0 {
		reason += ", " + brief(r.Late) + " late"
	}
	return []string{r.ID, r.State.String(), age, brief(r.Deadline), seq, pid, status, reason}
}

// brief shows no more of a duration than people read.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
