package tune

import (
	"math"
	"strconv"
	"time"

	"vigil/pkg/fmt"
)

// header names the columns of TSV.
const header = "line\tsetting\tt_d_mean_s\tt_d_p99_s\tmistakes\tmistakes_per_day\tt_m_mean_s\tp_a\tnote\n"

// TSV appends all rows: a header line, then a line for each setting. note is
// "default", "asked" or "-".
func TSV(dst []byte, rows []Row) []byte {
	dst = append(dst, header...)
	for i := range rows {
		r := &rows[i]
		note := "-"
		switch {
		case r.Default:
			note = "default"
		case r.Asked:
			note = "asked"
		}
		dst = fmt.Appendf(dst, "%s\t%s\t%.3f\t%.3f\t%d\t%.4f\t%.3f\t%.8f\t%s\n", r.Line, r.Spec, r.DetectMean.Seconds(),
			r.DetectP99.Seconds(), r.Mistakes, r.PerDay(), r.MistakeMean().Seconds(), r.Accuracy(), note)
	}
	return dst
}

// Table appends what people want to see of the rows: of each line, some from
// one mistake in a hundred beats to the first without any, those that meet the
// budgets, and the defaults.
func (t *Trace) Table(dst []byte, rows []Row) []byte {
	dst = fmt.Appendf(dst, "%-48s %9s %9s %13s %10s\n", "DETECTOR", "T_D MEAN", "T_D P99", "MISTAKES/DAY", "P_A")
	clean := ""
	for i := range rows {
		r := &rows[i]
		mark := ""
		switch {
		case r.Default:
			mark = " (default)"
		case r.Asked:
		case r.Minor, r.Mistakes > uint64(t.steps/100), r.Line == clean:
			continue
		case r.Mistakes == 0:
			clean = r.Line
		}
		dst = fmt.Appendf(dst, "%-48s %7ss %7ss %13s %10.6f\n", r.Spec+mark, seconds(r.DetectMean), seconds(r.DetectP99),
			digits(r.PerDay()), r.Accuracy())
	}
	return dst
}

// Advice appends, in words, which detector to choose for at most budget
// mistakes a day, and how far that can be trusted. ok tells that there is one.
func (t *Trace) Advice(dst []byte, rows []Row, budget float64) (text []byte, ok bool) {
	r := Best(rows, budget)
	if r == nil {
		dst = fmt.Appendf(dst, "Nothing that was tried makes at most %s mistakes a day here.\n", digits(budget))
		return t.caveat(dst), false
	}
	dst = fmt.Appendf(dst, "For at most %s a day: -detector %s\n  finds a crash in %s s on average, 99 %% within %s s, with %s a day.\n",
		mistakes(budget), r.Spec, seconds(r.DetectMean), seconds(r.DetectP99), mistakes(r.PerDay()))
	dst = t.plain(dst, rows, budget)
	for i := range rows {
		if d := &rows[i]; d.Default {
			dst = fmt.Appendf(dst, "The default (%s) finds a crash in %s s on average, with %s a day.\n",
				d.Spec, seconds(d.DetectMean), mistakes(d.PerDay()))
			break
		}
	}
	return t.caveat(dst), true
}

// plain puts the constant deadline into flags: dead within the budget, suspect
// 24 times as often: once an hour instead of once a day.
func (t *Trace) plain(dst []byte, rows []Row, budget float64) []byte {
	n := 0 // rows of the constant, which come first
	for n < len(rows) && rows[n].Line == lines[0].name {
		n++
	}
	dead, suspect := Best(rows[:n], budget), Best(rows[:n], 24*budget)
	if dead == nil {
		return dst
	}
	least, most := t.order[0].interval, t.order[0].interval
	for _, s := range t.order {
		least, most = min(least, s.interval), max(most, s.interval)
	}
	if most > least+least/10 {
		return fmt.Appendf(dst, "No -timeout fits all: these ids beat at intervals from %s s to %s s.\n", seconds(least), seconds(most))
	}
	dst = fmt.Appendf(dst, "As plain numbers: -timeout %s", roundUp(dead.DetectMean))
	if roundUp(suspect.DetectMean) == roundUp(dead.DetectMean) {
		return fmt.Appendf(dst, ", with %s a day.\n", mistakes(dead.PerDay()))
	}
	return fmt.Appendf(dst, " -suspect %s, with %s and %s a day.\n", roundUp(suspect.DetectMean),
		mistakes(dead.PerDay()), suspicions(suspect.PerDay()))
}

// caveat says what the trace is, and what it cannot say.
func (t *Trace) caveat(dst []byte) []byte {
	var alive, gap time.Duration
	for _, s := range t.order {
		for _, st := range s.steps {
			if st.count > 0 {
				alive += time.Duration(st.span) * time.Millisecond
				gap = max(gap, st.gap())
			}
		}
	}
	days := alive.Hours() / 24
	dst = fmt.Appendf(dst, "All this is of %s, %d beats, %s days in sum, the longest silence %s s.\n"+
		"Where no mistake was seen, there may still be up to %s a day (95 %% sure): a longer trace tells more.\n",
		plural(len(t.order), "sender"), t.steps+len(t.order), digits(days), seconds(gap), digits(3/days))
	if t.restarts > 0 {
		dst = fmt.Appendf(dst, "%s left out: bt_ms or seq went back.\n", plural(t.restarts, "restart"))
	}
	if t.unseen > 0 {
		dst = fmt.Appendf(dst, "%d beats were not seen by the recorder and are taken as evenly spaced: the true silences may be longer.\n", t.unseen)
	}
	return dst
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func mistakes(perDay float64) string { return counted(perDay, "mistake") }

func suspicions(perDay float64) string { return counted(perDay, "suspicion") }

func counted(n float64, what string) string {
	if text := digits(n); text != "1" {
		return text + " " + what + "s"
	}
	return "1 " + what
}

// digits prints a number with three digits, or all those before the point; of a
// whole number no others.
func digits(x float64) string {
	switch {
	case x >= 99.95 || x == math.Trunc(x):
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', max(2-int(math.Floor(math.Log10(x))), 0), 64)
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 3, 64)
	}
	return digits(d.Seconds())
}

// roundUp gives a duration of two digits as a flag takes it.
func roundUp(d time.Duration) string {
	unit := time.Millisecond
	for d > 100*unit {
		unit *= 10
	}
	return ((d + unit - 1) / unit * unit).String()
}
