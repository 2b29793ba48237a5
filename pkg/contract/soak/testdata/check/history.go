package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// A line is one of the truth. Times are of CLOCK_BOOTTIME, in ms.
type line struct {
	Kind, ID, Tool, Cause, How, What, Dir, Name, Verb, Why, Text, Summary, Dump, Argv string

	Line       string // of a program, as it came
	BT         int64
	From       int64
	Until      int64
	PID        int
	Signal     int
	Bytes      int64
	Count, FDs int
	Services   int
	Seed       uint64
	RSS        int   `json:"rss_kb"`
	Long       int64 `json:"long_ms"`
	Length     int64 `json:"length_ms"`
	Least      int64 `json:"least_ms"`
	Most       int64 `json:"most_ms"`
	Interval   int64 `json:"interval_ms"`
	Patience   int64 `json:"patience_ms"`
	Works      bool
	Evidence   bool
	Files      map[string]int64
}

// An event is a line of hbwatch's, and when it came.
type event struct {
	bt                              int64
	line                            string
	Event, ID, From, To, Reason, By string
	Age                             int64 `json:"age_ms"`
	Deadline                        int64 `json:"deadline_ms"`
	Stall                           int64 `json:"stall_ms"`
}

func (e *event) death() bool { return e.Event == "transition" && (e.To == "dead" || e.To == "failed") }

// A span is a time; one that goes on has no end yet.
type span struct {
	from, to int64
	what     string
	pid      int
	signal   int
}

const never = int64(1) << 60

func (s span) meets(from, to int64) bool { return s.from <= to && from <= s.to }

func meets(spans []span, from, to int64) bool {
	for _, s := range spans {
		if s.meets(from, to) {
			return true
		}
	}
	return false
}

// A subject is a service and what was done to it.
type subject struct {
	line             // as it was announced
	silences []span  // when it could not beat, why, and the process that was there then
	downs    []span  // when there was no process
	holds    []span  // in force for certain, at least
	events   []event // of it
}

// A question is one to a diagfifo.
type question struct {
	at, answered int64
	id, verb     string
}

// A history is all that is known.
type history struct {
	*report
	seed             uint64
	length           int64
	announced        int
	ids              []string
	subjects         map[string]*subject
	outs             map[string][]span // by tool, or tool and id
	full             map[string][]span // by directory
	events           []event
	stalls           []span // hbwatch's own, by hbwatch
	lags             []span // of the machine, by the one who wrote the truth
	faults           map[string]int
	samples          map[string][]line // by tool, id and pid
	weights          map[string][]line // by directory
	kept             map[string]int
	hooks            []hookRun
	questions        map[string]*question
	incidents, left  []line
	runs             []line
	feeder           []line
	refused, rejects int
	last             int64
	ended            bool
}

func newHistory(r *report) *history {
	return &history{report: r, subjects: map[string]*subject{}, outs: map[string][]span{}, full: map[string][]span{}, faults: map[string]int{},
		samples: map[string][]line{}, weights: map[string][]line{}, kept: map[string]int{}, questions: map[string]*question{}}
}

// begin and end open and close a span of a list.
func begin(list []span, s span) []span {
	s.to = never
	return append(list, s)
}

func end(list []span, at int64) {
	if n := len(list); n > 0 && list[n-1].to == never {
		list[n-1].to = at
	}
}

// of gives the subject of a line, which has to have been announced.
func (h *history) of(l *line) *subject {
	s := h.subjects[l.ID]
	if s == nil {
		h.find("truth", "%s of %q, which was never announced", l.Kind, l.ID)
		s = &subject{}
	}
	return s
}

// read takes a line. It is long: a table of their kinds.
func (h *history) read(l *line) {
	h.last = max(h.last, l.BT)
	switch l.Kind {
	case "soak":
		h.seed, h.length, h.announced = l.Seed, l.Length, l.Services
	case "service":
		h.ids = append(h.ids, l.ID)
		h.subjects[l.ID] = &subject{line: *l}
	case "fault", "phase":
		h.faults[l.What]++
	case "silent":
		s := h.of(l)
		s.silences = begin(s.silences, span{from: l.BT, what: l.Cause, pid: l.PID})
	case "beating":
		end(h.of(l).silences, l.BT)
	case "down":
		s := h.of(l)
		s.downs = begin(s.downs, span{from: l.BT, pid: l.PID, signal: l.Signal})
	case "up":
		end(h.of(l).downs, l.BT)
	case "hold":
		s := h.of(l)
		s.holds = append(s.holds, span{from: l.BT, to: l.Until, what: "ran out"})
	case "release":
		s := h.of(l)
		if n := len(s.holds); n > 0 && s.holds[n-1].to > l.BT {
			s.holds[n-1].to, s.holds[n-1].what = l.BT, "released"
		}
	case "no hold", "no release":
		h.refused++
	case "out":
		h.outs[l.Tool+l.ID] = begin(h.outs[l.Tool+l.ID], span{from: l.BT, what: l.How})
	case "in":
		end(h.outs[l.Tool+l.ID], l.BT)
	case "full":
		h.full[l.Dir] = begin(h.full[l.Dir], span{from: l.BT})
	case "room":
		end(h.full[l.Dir], l.BT)
	case "lag":
		h.lags = append(h.lags, span{from: l.From, to: l.From + l.Long})
	case "ask":
		h.questions[l.ID+" "+l.Name] = &question{at: l.BT, id: l.ID, verb: l.Verb}
	case "end":
		h.ended = true
	default:
		h.saw(l)
	}
}

// saw takes a line of what was seen. It is long: a table of their kinds.
func (h *history) saw(l *line) {
	switch l.Kind {
	case "event":
		h.event(l)
	case "wdping":
		h.feeder = append(h.feeder, *l)
	case "sample":
		key := l.Tool + " " + l.ID + " " + strconv.Itoa(l.PID)
		h.samples[key] = append(h.samples[key], *l)
	case "files":
		h.weights[l.Dir] = append(h.weights[l.Dir], *l)
	case "kept":
		if !json.Valid([]byte(l.Line)) {
			h.find("lost evidence", "the file of -events has a line that is none: %.80q", l.Line)
		}
		h.kept[l.Line]++
	case "hook":
		h.hook(l)
	case "incident":
		h.incidents = append(h.incidents, *l)
	case "file":
		h.left = append(h.left, *l)
	case "runs":
		h.runs = append(h.runs, *l)
	case "answer":
		if q := h.questions[l.ID+" "+l.Name]; q != nil {
			q.answered = l.BT
		}
	case "nobody serves":
		// Rightly so for a moment after a kill; else a finding.
		if !meets(h.outs["diagfifo"+l.ID], l.BT-3000, l.BT) {
			h.find("lost commands", "%s: nobody serves at %d, though its diagfifo runs", l.ID, l.BT)
		}
	case "died":
		h.find("end without reason", "%s %s, pid %d, at %d: %s", l.Tool, l.ID, l.PID, l.BT, l.How)
	case "stuck":
		h.find("no end", "%s %s, pid %d, at %d: not within a minute of being told", l.Tool, l.ID, l.PID, l.BT)
	case "ledger", "complaint", "over", "phase over", "clock":
	default:
		h.find("truth", "unknown kind %q", l.Kind)
	}
}

func (h *history) event(l *line) {
	e := event{bt: l.BT, line: l.Line}
	if err := json.Unmarshal([]byte(l.Line), &e); err != nil {
		h.find("events", "%.80q: %v", l.Line, err)
		return
	}
	h.events = append(h.events, e)
	switch {
	case e.Event == "local_stall":
		h.stalls = append(h.stalls, span{from: e.bt - e.Stall, to: e.bt})
	case e.Event == "rejected":
		h.rejects++
	}
	if s := h.subjects[e.ID]; s != nil {
		s.events = append(s.events, e)
	} else if e.ID != "" {
		h.find("events", "of %q, which was never announced", e.ID)
	}
}

// A hookRun is one of on-change.
type hookRun struct {
	bt           int64
	id, from, to string
}

// hook reads "UPTIME ID FROM TO REASON".
func (h *history) hook(l *line) {
	f := strings.Fields(l.Line)
	if len(f) < 5 {
		h.find("lost evidence", "a line of the hook is none: %.80q", l.Line)
		return
	}
	up, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		h.find("lost evidence", "a line of the hook is none: %.80q", l.Line)
	}
	h.hooks = append(h.hooks, hookRun{int64(up * 1000), f[1], f[2], f[3]})
}

// close sees to it that there is something to judge: of nothing, nothing is said.
func (h *history) close() {
	if !h.ended {
		h.find("truth", "it has no end")
	}
	if len(h.ids) == 0 || len(h.ids) != h.announced {
		h.find("truth", "%d services, want %d", len(h.ids), h.announced)
	}
	if len(h.events) == 0 || len(h.samples) == 0 || len(h.weights) == 0 {
		h.find("truth", "no events, no samples or no files")
	}
	for _, s := range h.subjects {
		slices.SortStableFunc(s.events, func(a, b event) int { return int(a.bt - b.bt) })
		alive := false
		for _, e := range s.events {
			alive = alive || e.To == "alive"
		}
		if !alive {
			h.find("missed life", "%s was never alive", s.ID)
		}
	}
}
