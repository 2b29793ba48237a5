// Package prom writes what a watcher knows as metrics, in the text format of
// Prometheus (version 0.0.4) as the textfile collector of its node_exporter
// reads it: HELP and TYPE for each metric, all of its series together, no
// times, no series twice, a line feed at the end.
//
// Which series there are depends on nothing that a sender chooses but its id,
// which is the name of its file.
package prom

import (
	"io"
	"strconv"
	"time"

	"vigil/pkg/heartbeat"
	"vigil/pkg/watch"
)

// Page is all that is exported.
type Page struct {
	watch.Snapshot
	Version     string
	Sweep       time.Duration             // how long the last one took
	Beats       uint64                    // taken, since the start
	Transitions [len(watch.States)]uint64 // by the state that they led to
	Stalls      uint64                    // of the watcher itself
}

// Tally counts an event.
func (p *Page) Tally(ev *watch.Event) {
	switch ev.Kind {
	case watch.Transition:
		p.Transitions[ev.To]++
	case watch.LocalStall:
		p.Stalls++
	}
}

// up tells for which states an id counts as up: those in which there is
// nothing to be done yet.
var up = [len(watch.States)]bool{watch.Alive: true, watch.Degraded: true, watch.Held: true, watch.Suspect: true}

const (
	gauge   = " gauge\n"
	counter = " counter\n"

	chunk = 1 << 15 // bytes that are written at a time
)

// printer writes in chunks, so that a hundred thousand ids need no more memory
// than one. The first error stays.
type printer struct {
	w   io.Writer
	b   []byte
	err error
}

// Write writes the page. The error is w's.
func (p *Page) Write(w io.Writer) error {
	out := &printer{w: w, b: make([]byte, 0, chunk+1024)}
	p.each(out)
	p.all(out)
	out.flush()
	return out.err
}

// each writes what there is of each id.
func (p *Page) each(out *printer) {
	out.family("hbwatch_heartbeat_up", gauge, "Whether the id is alive, degraded, suspect or held (1), or failed, stopped, dead or unknown (0).")
	for i := range p.IDs {
		out.of(&p.IDs[i], "hbwatch_heartbeat_up").number(digit(up[p.IDs[i].State]))
	}
	out.family("hbwatch_heartbeat_state", gauge, "The state of the id: 1 for the one that it has, 0 for the others.")
	for i := range p.IDs {
		for state := range watch.States {
			out.of(&p.IDs[i], "hbwatch_heartbeat_state").label("state", watch.State(state).String()).
				number(digit(p.IDs[i].State == watch.State(state)))
		}
	}
	out.family("hbwatch_heartbeat_timeout_seconds", gauge, "Silence after which the id is dead.")
	for i := range p.IDs {
		out.of(&p.IDs[i], "hbwatch_heartbeat_timeout_seconds").seconds(p.IDs[i].Timeout)
	}
	p.beaten(out, "hbwatch_heartbeat_age_seconds", "Time since the last beat that was seen, when this file was written.",
		func(k *watch.Known) { out.seconds(k.Age) })
	p.beaten(out, "hbwatch_heartbeat_last_timestamp_seconds", "When the last beat was, in seconds since 1970.",
		func(k *watch.Known) { out.date(p.Wall.Add(-k.Age)) })
	p.beaten(out, "hbwatch_heartbeat_interval_seconds", "Time between beats that the sender declares; 0 if it does not.",
		func(k *watch.Known) { out.seconds(k.Interval) })
	p.beaten(out, "hbwatch_heartbeat_seq", "Number that the last beat bears; a sender that is started again begins afresh.",
		func(k *watch.Known) { out.number(k.Seq) })
}

// beaten writes a metric that only those have which were seen to beat.
func (p *Page) beaten(out *printer, name, help string, value func(k *watch.Known)) {
	out.family(name, gauge, help)
	for i := range p.IDs {
		if k := &p.IDs[i]; k.Beaten {
			out.of(k, name)
			value(k)
		}
	}
}

// all writes what there is once.
func (p *Page) all(out *printer) {
	var states [len(watch.States)]uint64
	for i := range p.IDs {
		states[p.IDs[i].State]++
	}
	out.byState("hbwatch_heartbeats", "state", gauge, "Ids in each state.", &states)
	out.byState("hbwatch_transitions_total", "to", counter, "Changes of state, by the state that they led to.", &p.Transitions)
	out.family("hbwatch_rejected_records_total", counter, "Contents of heartbeat files that were not taken for a beat, by reason.")
	for reason, n := range p.Rejected {
		out.text("hbwatch_rejected_records_total{").label("reason", heartbeat.Reason(reason).String()).number(n)
	}
	out.once("hbwatch_heartbeats_received_total", counter, "Beats taken; of a sender that beats more often than it is looked at, not all.").number(p.Beats)
	out.once("hbwatch_local_stalls_total", counter, "Times that the watcher itself did not run for too long.").number(p.Stalls)
	out.once("hbwatch_sweep_duration_seconds", gauge, "How long the last look at what was due took.").seconds(p.Sweep)
	out.once("hbwatch_last_sweep_timestamp_seconds", gauge, "When the last look was, in seconds since 1970.").date(p.Wall)
	out.family("hbwatch_build_info", gauge, "1, labelled with the version of hbwatch.")
	out.text("hbwatch_build_info{").label("version", p.Version).number(1)
}

func digit(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

// family begins a metric.
func (out *printer) family(name, kind, help string) {
	out.text("# HELP ").text(name).text(" ").text(help).text("\n# TYPE ").text(name).text(kind)
}

// byState writes a metric that has a series for each state.
func (out *printer) byState(name, label, kind, help string, n *[len(watch.States)]uint64) {
	out.family(name, kind, help)
	for state := range n {
		out.text(name).text("{").label(label, watch.State(state).String()).number(n[state])
	}
}

// once begins a metric that is one number.
func (out *printer) once(name, kind, help string) *printer {
	out.family(name, kind, help)
	return out.text(name)
}

// of begins a series of one id.
func (out *printer) of(k *watch.Known, name string) *printer {
	return out.text(name).text("{").label("id", k.ID)
}

func (out *printer) text(s string) *printer {
	out.b = append(out.b, s...)
	return out
}

// label writes a label behind the brace, or behind another one. The format
// wants UTF-8 and escapes three characters; of what else is no ASCII we write
// the bytes as \xNN, which no id has.
func (out *printer) label(name, value string) *printer {
	if out.b[len(out.b)-1] != '{' {
		out.b = append(out.b, ',')
	}
	out.text(name).text(`="`)
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\\' || c == '"':
			out.b = append(out.b, '\\', c)
		case c == '\n':
			out.b = append(out.b, '\\', 'n')
		case c < ' ' || c > '~':
			const hex = "0123456789abcdef"
			out.b = append(out.b, '\\', '\\', 'x', hex[c>>4], hex[c&15])
		default:
			out.b = append(out.b, c)
		}
	}
	return out.text(`"`)
}

// end closes the labels, if there are any, before the number.
func (out *printer) end() {
	if out.b[len(out.b)-1] == '"' {
		out.b = append(out.b, '}')
	}
	out.b = append(out.b, ' ')
}

func (out *printer) number(n uint64) {
	out.end()
	out.b = strconv.AppendUint(out.b, n, 10)
	out.line()
}

// seconds shows microseconds, exactly.
func (out *printer) seconds(d time.Duration) { out.micros(d.Microseconds()) }

func (out *printer) date(t time.Time) { out.micros(t.UnixMicro()) }

// micros is exact where a float would not be, and needs none of its code. No
// time that we show is negative.
func (out *printer) micros(n int64) {
	out.end()
	out.b = strconv.AppendInt(out.b, n/1e6, 10)
	out.b = append(out.b, '.')
	for unit := int64(1e5); unit > 0; unit /= 10 {
		out.b = append(out.b, byte('0'+n/unit%10))
	}
	out.line()
}

func (out *printer) line() {
	out.b = append(out.b, '\n')
	if len(out.b) >= chunk {
		out.flush()
	}
}

func (out *printer) flush() {
	if out.err == nil {
		_, out.err = out.w.Write(out.b)
	}
	out.b = out.b[:0]
}
