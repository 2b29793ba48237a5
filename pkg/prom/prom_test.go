package prom

import (
	"bytes"
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
	"vigil/pkg/watch"
)

// page has an id in every state, and numbers that tell from where they come.
func page() *Page {
	p := &Page{Version: "v1\"2\\3\n\xff", Sweep: 1500042 * time.Microsecond, Beats: 77, Stalls: 3}
	p.Wall = time.UnixMilli(1763820000250)
	for s := range watch.States {
		p.IDs = append(p.IDs, watch.Known{ID: "svc-" + watch.State(s).String(), State: watch.State(s), Timeout: 5 * time.Second,
			Beaten: watch.State(s) != watch.Unknown, Age: 1250 * time.Millisecond, Interval: time.Second, Seq: 1<<64 - 1})
		p.Transitions[s] = uint64(s)
	}
	p.Rejected[heartbeat.Torn] = 9
	return p
}

func text(t *testing.T, p *Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLines(t *testing.T) {
	have := strings.Split(text(t, page()), "\n")
	for _, want := range []string{
		"# TYPE hbwatch_heartbeat_up gauge",
		`hbwatch_heartbeat_up{id="svc-suspect"} 1`,
		`hbwatch_heartbeat_up{id="svc-failed"} 0`,
		`hbwatch_heartbeat_state{id="svc-dead",state="dead"} 1`,
		`hbwatch_heartbeat_state{id="svc-dead",state="alive"} 0`,
		`hbwatch_heartbeat_age_seconds{id="svc-alive"} 1.250000`,
		`hbwatch_heartbeat_last_timestamp_seconds{id="svc-alive"} 1763819999.000000`,
		`hbwatch_heartbeat_interval_seconds{id="svc-alive"} 1.000000`,
		`hbwatch_heartbeat_timeout_seconds{id="svc-unknown"} 5.000000`,
		`hbwatch_heartbeat_seq{id="svc-alive"} 18446744073709551615`,
		`hbwatch_heartbeats{state="held"} 1`,
		"# TYPE hbwatch_transitions_total counter",
		`hbwatch_transitions_total{to="unknown"} 7`,
		`hbwatch_rejected_records_total{reason="torn"} 9`,
		`hbwatch_rejected_records_total{reason="future"} 0`,
		"hbwatch_heartbeats_received_total 77",
		"hbwatch_local_stalls_total 3",
		"hbwatch_sweep_duration_seconds 1.500042",
		"hbwatch_last_sweep_timestamp_seconds 1763820000.250000",
		`hbwatch_build_info{version="v1\"2\\3\n\\xff"} 1`,
	} {
		if !slices.Contains(have, want) {
			t.Errorf("lacks %s", want)
		}
	}
	for _, line := range have {
		if strings.Contains(line, "svc-unknown") && regexp.MustCompile("_(age|last|interval|seq)").MatchString(line) {
			t.Errorf("of one never seen to beat: %s", line)
		}
	}
}

func TestTally(t *testing.T) {
	var p Page
	for _, ev := range []watch.Event{
		{Kind: watch.Transition, To: watch.Dead}, {Kind: watch.Transition, To: watch.Dead},
		{Kind: watch.LocalStall}, {Kind: watch.Rejected}, {Kind: watch.HoldBegun},
	} {
		p.Tally(&ev)
	}
	if p.Transitions[watch.Dead] != 2 || p.Transitions[watch.Alive] != 0 || p.Stalls != 1 {
		t.Errorf("%+v", p)
	}
}

// A reader takes the text apart as strictly as node_exporter does, which
// promtool check metrics does not: series that come twice, and times.
var sample = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})? (-?[0-9.]+)$`)

func faults(text string) (found []string) {
	series, help, kind := map[string]bool{}, map[string]bool{}, map[string]bool{}
	family := ""
	if !strings.HasSuffix(text, "\n") || strings.Contains(text, "\r") {
		found = append(found, "line ends")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			word := strings.Fields(rest)
			seen := help
			if word[0] == "TYPE" {
				seen = kind
			}
			if family = word[1]; seen[family] || len(word) < 3 {
				found = append(found, line)
			}
			seen[family] = true
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			found = append(found, line)
			continue
		}
		_, err := strconv.ParseFloat(m[3], 64)
		if err != nil || m[1] != family || !help[family] || !kind[family] || series[m[1]+m[2]] {
			found = append(found, line)
		}
		series[m[1]+m[2]] = true
	}
	return found
}

func TestNoFaults(t *testing.T) {
	for name, p := range map[string]*Page{"empty": {Version: "v1"}, "full": page()} {
		if found := faults(text(t, p)); len(found) > 0 {
			t.Errorf("%s: %q", name, found)
		}
	}
}

func TestFaultsNotices(t *testing.T) {
	const head = "# HELP a b\n# TYPE a gauge\n"
	for _, bad := range []string{
		head + "a 1\na 2\n", head + "a 1 1700000000\n", head + "a 1", head + "a 1\r\n", head + "b 1\n", "a 1\n",
		head + head + "a 1\n", head + "a{id=\"\\x\"} 1\n", head + "a{id=\"x\",} 1\n", "# HELP a\n# TYPE a gauge\na 1\n",
	} {
		if len(faults(bad)) == 0 {
			t.Errorf("%q passes", bad)
		}
	}
	if found := faults(head + "a{id=\"x\\n\"} 1\na{id=\"y\"} 1\n"); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

func TestPromtool(t *testing.T) {
	gate.Need(t, "promtool")
	for name, p := range map[string]*Page{"empty": {Version: "v1"}, "full": page()} {
		check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
		check.Stdin = strings.NewReader(text(t, p))
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestManyIDs: the text is written in pieces, and none is lost.
func TestManyIDs(t *testing.T) {
	p := &Page{}
	for i := range 5000 {
		p.IDs = append(p.IDs, watch.Known{ID: "id-" + strconv.Itoa(i), Beaten: true})
	}
	out := text(t, p)
	if found := faults(out); len(found) > 0 {
		t.Errorf("%q", found)
	}
	if n, want := strings.Count(out, `{id="`), 5000*(6+len(watch.States)); n != want {
		t.Errorf("%d series, want %d", n, want)
	}
	broken := errors.New("disk full")
	writes := 0
	err := p.Write(writerFunc(func(b []byte) (int, error) {
		if writes++; writes == 2 {
			return 0, broken
		}
		return len(b), nil
	}))
	if err != broken || writes != 2 {
		t.Errorf("%v after %d writes", err, writes)
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
