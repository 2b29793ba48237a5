package tune

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestParseLine(t *testing.T) {
	bt, id, seq, err := ParseLine("86400123 svc-A-01 18446744073709551615")
	if bt != 86400123 || id != "svc-A-01" || seq != 1<<64-1 || err != nil {
		t.Errorf("%d %s %d, %v", bt, id, seq, err)
	}
	for line, want := range map[string]string{
		"":                             "want three words",
		"1 a":                          "want three words",
		"1 a 2 3":                      "seq: want a whole number",
		" 1 a 2":                       "bt_ms: want whole milliseconds",
		"-1 a 2":                       "bt_ms: want whole milliseconds",
		"01 a 2":                       "bt_ms: want whole milliseconds",
		"9223372036854775808 a 2":      "bt_ms: want whole milliseconds",
		"1.5 a 2":                      "bt_ms: want whole milliseconds",
		"1 ../a 2":                     "ID: want",
		"1  2":                         "ID: want",
		"1 a +2":                       "seq: want a whole number",
		"1 a 18446744073709551616":     "seq: want a whole number",
		"1 a 2\r":                      "seq: want a whole number",
		"1 " + strings.Repeat("a", 65): "want three words",
	} {
		if _, _, _, err := ParseLine(line); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("86400123 svc-A-01 7")
	f.Add("0 a 0")
	f.Add("9223372036854775807 _._ 18446744073709551615")
	f.Fuzz(func(t *testing.T, line string) {
		bt, id, seq, err := ParseLine(line)
		if err != nil {
			return
		}
		if again := string(AppendLine(nil, bt, id, seq)); again != line+"\n" || len(again) > maxLine {
			t.Errorf("%q comes back as %q", line, again)
		}
	})
}

// FuzzRead: whatever a file holds, it is read to its end or refused with the
// number of a line that it has, and what was read can be replayed.
func FuzzRead(f *testing.F) {
	f.Add([]byte("# two ids\n1000 a 1\n\n1100 b 1\n2000 a 2\n1500 b 9\n0 a 1\n90 a 1\n90 a 1\n"))
	f.Add([]byte("1 a 1\n4294967297 a 18446744073709551615"))
	f.Fuzz(func(t *testing.T, text []byte) {
		trace := New(0)
		if err := trace.Read(strings.NewReader(string(text)), "f"); err != nil {
			var bad *SyntaxError
			if lines := strings.Count(string(text), "\n") + 1; !errors.As(err, &bad) || bad.Line < 1 || bad.Line > lines {
				t.Fatalf("%v, in %d lines", err, lines)
			}
			return
		}
		trace.settle()
		if len(trace.order) == 0 {
			return
		}
		q := trace.try("phi")
		if p := q.Accuracy(); !(p >= 0 && p <= 1) || !(q.PerDay() >= 0) || q.DetectMean < 0 {
			t.Errorf("%+v: accuracy %v", q, p)
		}
	})
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"1 a 1\n2 a 2":                        "",
		"# no beats\n\n":                      "",
		"1 a 1\nx\n":                          "f:2: want three words: bt_ms ID seq",
		"\n\n1 a b":                           "f:3: seq: want a whole number",
		"1 a 1\n" + strings.Repeat("7", 1000): "f:2: longer than 256 bytes",
		"#" + strings.Repeat("7", 100_000) + "\n":          "f:1: longer than 256 bytes",
		"1 a 1\n# " + strings.Repeat(" ", 250) + "\n2 a 2": "",
	} {
		err := New(0).Read(strings.NewReader(text), "f")
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	err := New(0).Read(io.MultiReader(strings.NewReader("1 a 1\n"), iotest.ErrReader(io.ErrClosedPipe)), "f")
	if !errors.Is(err, io.ErrClosedPipe) || !strings.HasPrefix(err.Error(), "f: ") {
		t.Errorf("a reader that breaks: %v", err)
	}
}

// TestBound: memory is bounded, by beats and by ids.
func TestBound(t *testing.T) {
	for name, id := range map[string]func(n int) string{
		"one id":   func(int) string { return "a" },
		"many ids": func(n int) string { return string(AppendLine(nil, int64(n), "a", 0)) },
	} {
		trace := New(0)
		trace.limit = 100_000
		var err error
		n := 0
		for ; err == nil && n <= trace.limit+1; n++ {
			err = trace.Add(int64(n), id(n), uint64(n))
		}
		if err == nil || n > trace.limit || n < trace.limit/30 {
			t.Errorf("%s: %v after %d beats", name, err, n)
		}
	}
}

// record makes a trace of lines.
func record(t testing.TB, interval time.Duration, text string) *Trace {
	t.Helper()
	trace := New(interval)
	if err := trace.Read(strings.NewReader(text), "f"); err != nil {
		t.Fatal(err)
	}
	trace.settle()
	return trace
}

// spell writes steps down as TestLives has them.
func spell(steps []step) string {
	words := make([]string, len(steps))
	for i, st := range steps {
		switch st.count {
		case 0:
			words[i] = "|"
		case 1:
			words[i] = fmt.Sprint(st.span)
		default:
			words[i] = fmt.Sprintf("%d*%d", st.span, st.count)
		}
	}
	return strings.Join(words, " ")
}

// TestLives: where bt_ms or seq goes back, a new life begins.
func TestLives(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		steps      string // spans, with the number of beats if not 1; | is a restart
		interval   time.Duration
	}{
		{"steady", "0 a 1\n1000 a 2\n2000 a 3\n", "1000 1000", time.Second},
		{"said twice", "0 a 1\n1000 a 2\n1000 a 2\n2000 a 3\n", "1000 1000", time.Second},
		{"two in one millisecond", "0 a 1\n1000 a 2\n1000 a 3\n2000 a 4\n", "1000 0 1000", time.Second},
		{"restarted", "0 a 1\n1000 a 2\n60000 a 1\n61000 a 2\n", "1000 | 1000", time.Second},
		{"another boot", "5000 a 1\n6000 a 2\n100 a 900\n1100 a 901\n", "1000 | 1000", time.Second},
		{"without numbers", "0 a 0\n1000 a 0\n2000 a 0\n", "1000 1000", time.Second},
		{"beats not seen", "0 a 1\n5000 a 6\n6000 a 7\n", "5000*5 1000", time.Second},
		{"the median", "0 a 1\n900 a 2\n1900 a 3\n99000 a 4\n", "900 1000 97100", 1000 * time.Millisecond},
		{"two ids", "0 a 1\n500 b 7\n1000 a 2\n700 b 8\n", "1000", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := record(t, 0, tt.text)
			if have := spell(trace.order[0].steps); have != tt.steps || trace.order[0].interval.Round(10*time.Millisecond) != tt.interval {
				t.Errorf("%s at %v, want %s at %v", have, trace.order[0].interval, tt.steps, tt.interval)
			}
		})
	}
	if trace := record(t, 0, "1000 a 1\n5 b 2\n5 b 3\n9 c 3\n1 c 1\n"); len(trace.order) != 0 {
		t.Errorf("%d ids without a gap are kept", len(trace.order))
	}
}
