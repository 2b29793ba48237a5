package diag

import (
	"bufio"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/control"
)

// call runs a verb as if it had come in.
func call(t *testing.T, v Verb, command string) string {
	t.Helper()
	var pairs []control.Pair
	for _, word := range strings.Fields(command) {
		key, value, _ := strings.Cut(word, "=")
		pairs = append(pairs, control.Pair{Key: key, Value: value})
	}
	r, err := control.Once(nil, []Verb{v}, v.Name, pairs)
	return strings.TrimSpace(string(control.AppendReply(nil, "", r, err)))
}

func TestLogLevelReturns(t *testing.T) {
	level := new(slog.LevelVar)
	v := LogLevel(level)
	for _, test := range []struct{ command, want string }{
		{"", "- ok level=INFO"},
		{"level=WARN", "- ok level=WARN"},
		{"level=DEBUG for=1h", "- ok level=DEBUG returns_to=WARN"},
		{"level=ERROR for=1h", "- ok level=ERROR returns_to=WARN"}, // not to DEBUG
		{"level=DEBUG", "- ok level=DEBUG"},                        // for good
		{"for=1h", "- err usage for 1h: want a time of at most 24h0m0s, and a level"},
		{"level=INFO for=48h", "- err usage for 48h: want a time of at most 24h0m0s, and a level"},
		{"level=INFO for=x", "- err usage for x: want a time of at most 24h0m0s, and a level"},
		{"level=INFO for=1ms", "- ok level=INFO returns_to=DEBUG"},
	} {
		if got := call(t, v, test.command); got != test.want {
			t.Errorf("%s: %q, want %q", test.command, got, test.want)
		}
	}
	until(t, "the former level", func() bool { return level.Level() == slog.LevelDebug })
	until(t, "and nothing more to come", func() bool { return call(t, v, "") == "- ok level=DEBUG" })
}

func TestMuteEnds(t *testing.T) {
	var m Mute
	v := m.Verb()
	for _, bad := range []string{"-1s", "2h", "x", ""} {
		if got := call(t, v, "for="+bad); !strings.HasPrefix(got, "- err usage for "+bad) {
			t.Errorf("%s: %q", bad, got)
		}
	}
	if got := call(t, v, "for=1h"); !strings.HasPrefix(got, "- ok left_ms=3") || !m.Muted() {
		t.Errorf("1h: %q", got)
	}
	call(t, v, "for=1ms")
	until(t, "its end", func() bool { return !m.Muted() })
	at := time.Duration(m.until.Load())
	for _, test := range []struct{ now, left time.Duration }{{at - 5, 5}, {at, 0}, {at + 5, 0}} {
		if got := m.left(test.now); got != test.left {
			t.Errorf("left at %v: %v", test.now, got)
		}
	}
}

func TestGuardJudges(t *testing.T) {
	g := &Guard{least: 100 * time.Millisecond, begun: time.Now()}
	ms := func(awake, suspended, cpu int) instant {
		return instant{time.Duration(awake) * time.Millisecond, time.Duration(suspended) * time.Millisecond, time.Duration(cpu) * time.Millisecond}
	}
	for _, test := range []struct {
		name      string
		last, now instant
		want      Pause
		is        bool
	}{
		{"in time", ms(1000, 0, 10), ms(1025, 0, 11), Pause{}, false},
		{"late", ms(1000, 0, 10), ms(1124, 0, 11), Pause{}, false},
		{"a pause", ms(1000, 0, 10), ms(1125, 0, 11), Pause{Length: 100 * time.Millisecond, CPU: time.Millisecond}, true},
		{"busy", ms(1000, 0, 10), ms(3025, 0, 2010), Pause{Length: 2 * time.Second, CPU: 2 * time.Second}, true},
		{"only suspended", ms(1000, 0, 10), ms(1030, 60_000, 10), Pause{}, false},
		{"suspended, too", ms(1000, 0, 10), ms(1225, 60_000, 10), Pause{Length: 200 * time.Millisecond, Suspended: time.Minute}, true},
	} {
		p, is := g.judge(test.last, test.now, 25*time.Millisecond)
		if is != test.is || is && p != test.want {
			t.Errorf("%s: %+v %v, want %+v %v", test.name, p, is, test.want, test.is)
		}
	}
	for i := range 20 {
		g.note(Pause{End: time.UnixMilli(int64(i)), Length: time.Duration(100+i) * time.Millisecond})
	}
	got := call(t, g.Verb(), "")
	if !strings.HasPrefix(got, "- ok count=20 longest_ms=119 least_ms=100 watched_s=") || strings.Count(got, "pause_ms=") != 16 ||
		!strings.HasSuffix(got, "1970-01-01T00:00:00.019Z pause_ms=119 cpu_ms=0 suspended_ms=0") || strings.Contains(got, "pause_ms=103") {
		t.Errorf("%s", got)
	}
}

const helper = "VIGIL_DIAG_GUARDED"

// TestGuardedProgram is the program that TestGuardNoticesAStop stops.
func TestGuardedProgram(t *testing.T) {
	if os.Getenv(helper) == "" {
		return
	}
	noticed := make(chan Pause)
	g := NewGuard(200*time.Millisecond, func(p Pause) { noticed <- p })
	defer g.Close()
	fmt.Println("guarded")
	for {
		p := <-noticed
		fmt.Printf("pause %d %t\n", p.Length.Milliseconds(), p.CPU < p.Length/2)
		if p.Length >= 500*time.Millisecond {
			return
		}
	}
}

func TestGuardNoticesAStop(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGuardedProgram$")
	cmd.Env = append(os.Environ(), helper+"=yes")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(output)
	seen := false
	for lines.Scan() {
		if lines.Text() == "guarded" {
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for begun := time.Now(); time.Since(begun) < time.Second; {
				time.Sleep(10 * time.Millisecond)
			}
			if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		var length int
		var idle bool
		if n, _ := fmt.Sscanf(lines.Text(), "pause %d %t", &length, &idle); n == 2 && length >= 500 {
			seen = true
			if !idle {
				t.Errorf("a stopped program used the processor: %s", lines.Text())
			}
		}
	}
	if !seen {
		t.Error("no pause of half a second was noticed in one of a second")
	}
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	h := &metrics.Float64Histogram{Counts: []uint64{50, 0, 49, 1}, Buckets: []float64{0, 1, 2, 3, inf}}
	for _, test := range []struct{ q, want float64 }{{0.5, 1}, {0.51, 3}, {0.99, 3}, {1, 3}} {
		if got := quantile(h, test.q); got != test.want {
			t.Errorf("quantile %g = %g, want %g", test.q, got, test.want)
		}
	}
	if got := quantile(&metrics.Float64Histogram{Counts: []uint64{0}, Buckets: []float64{0, inf}}, 1); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}
