package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	spool = "/spool"
	run   = "/run/vigil"

	hookLimit = int64(40000) // 30 s, and the wait for a place
	answerBy  = int64(10000)
	settle    = int64(2000) // what a disk needs to be full, or not, for all
)

// tools looks at what else the watchers did, and what they left.
func (h *history) tools() {
	outs := 0
	for _, list := range h.outs {
		outs += len(list)
	}
	h.figure("stops and ends of tools", "%d", outs)
	armed := 0
	for _, l := range h.feeder {
		switch {
		case strings.Contains(l.Line, `"event":"starving"`):
			h.find("needless reset", "wdping starves at %d: %s", l.BT, l.Line)
		case strings.Contains(l.Line, `"event":"armed"`):
			armed++
		}
	}
	if armed == 0 {
		h.find("wdping", "it was never armed")
	}
	for _, l := range h.runs {
		for _, name := range []string{"hbsend", "hbwatch", "wdping", "diagfifo", "corecap", "vigil-", "on-change"} {
			if strings.Contains(l.Argv, name) {
				h.find("left behind", "process %d: %s", l.PID, l.Argv)
				break
			}
		}
	}
	for _, l := range h.left {
		base := l.Name[strings.LastIndexByte(l.Name, '/')+1:]
		lock := base == ".hold.lock" || base == ".afterwards"
		if strings.HasPrefix(base, ".") && !lock || strings.HasSuffix(base, ".tmp") || strings.HasSuffix(base, ".new") {
			h.find("left behind", "file %s, %d bytes", l.Name, l.Bytes)
		}
	}
}

// gap tells whether hbwatch was ended in a time: what it was about to do is lost.
func (h *history) gap(from, to int64) bool {
	for _, o := range h.outs["hbwatch"] {
		if (strings.HasPrefix(o.what, "kill") || strings.HasPrefix(o.what, "end")) && o.from >= from && o.from <= to {
			return true
		}
	}
	return false
}

// evidence looks for what every death has to leave.
func (h *history) evidence() {
	lost, none := 0, 0
	for _, e := range h.events {
		switch {
		case h.kept[e.line] > 0:
			h.kept[e.line]--
		case meets(h.full[spool], e.bt-settle, e.bt+settle):
			none++
		case h.gap(e.bt-settle, e.bt+settle):
			none++
		default:
			lost++
			h.find("lost evidence", "an event of %d is not in the file of -events: %s", e.bt, e.line)
		}
	}
	h.figure("events", "%d, kept in the file %d; lost on a full disk or with a killed watcher %d", len(h.events), len(h.events)-lost-none, none)
	hooks, incidents := 0, 0
	for _, id := range h.ids {
		s := h.subjects[id]
		for i := range s.events {
			e := &s.events[i]
			if !e.death() || h.gap(e.bt-settle, e.bt+hookLimit) {
				continue
			}
			hooks++
			if !slices.ContainsFunc(h.hooks, func(r hookRun) bool { return r.id == id && r.bt >= e.bt-breath && r.bt <= e.bt+hookLimit }) {
				h.find("lost evidence", "%s: no hook ran for %s", id, e.line)
			}
			if s.Evidence {
				incidents++
				if why := h.incident(s, e); why != "" {
					h.find("lost evidence", "%s, %s at %d: %s", id, e.To, e.bt, why)
				}
			}
		}
	}
	h.figure("hook runs", "%d, for %d deaths", len(h.hooks), hooks)
	h.figure("incidents", "%d, for %d deaths of those that evidence is saved of", len(h.incidents), incidents)
	h.crashes()
}

// incident says what is missing of the evidence of a death.
func (h *history) incident(s *subject, e *event) string {
	from := e.bt
	for i := range s.events { // it may have begun with a suspicion
		switch o := &s.events[i]; {
		case o.bt >= e.bt || o.Event != "transition":
		case o.To == "suspect" || o.death():
			from = min(from, o.bt)
		default:
			from = e.bt
		}
	}
	full := meets(h.full[spool], from-settle, e.bt+hookLimit)
	for n := range h.incidents {
		l := &h.incidents[n]
		rest, ok := strings.CutPrefix(l.Name, s.ID+"-")
		if !ok {
			continue
		}
		_, ms, _ := strings.Cut(rest, "-")
		at, err := strconv.ParseInt(ms, 10, 64)
		if err != nil || at < from-breath || at > e.bt+hookLimit {
			continue
		}
		if full {
			return ""
		}
		return whole(s, l, from, e.bt)
	}
	if full {
		return "" // there was no room for it
	}
	return "no incident"
}

// whole says what an incident lacks.
func whole(s *subject, l *line, from, to int64) string {
	if !strings.Contains(l.Summary, "\n  complete\n") {
		return fmt.Sprintf("%s is not complete: %q", l.Name, l.Summary)
	}
	if l.Files["last.hb"] == 0 {
		return l.Name + " has no last.hb"
	}
	for _, silence := range s.silences {
		if silence.pid == 0 || !silence.meets(from-s.Interval, to) || meets(s.downs, from-s.Interval, to+hookLimit) {
			continue
		}
		for _, name := range []string{"dump.json", "stacks.txt", "core"} {
			if l.Files[name] == 0 {
				return fmt.Sprintf("%s has no %s: %q", l.Name, name, l.Summary)
			}
		}
		if pid := fmt.Sprintf(`"process.pid":%d,`, silence.pid); !strings.Contains(l.Dump, pid) {
			return fmt.Sprintf("%s: the dump is of another process than %d: %.200s", l.Name, silence.pid, l.Dump)
		}
	}
	return ""
}

// crashes looks for the core of each crash.
func (h *history) crashes() {
	files := map[string]int64{}
	for _, l := range h.left {
		files[l.Name] = l.Bytes
	}
	n := 0
	for _, id := range h.ids {
		for _, down := range h.subjects[id].downs {
			if down.signal != 11 || meets(h.full[spool], down.from-settle, down.from+answerBy) {
				continue
			}
			n++
			for _, kind := range []string{".core", ".json", ".stacks"} {
				found := false
				for name, bytes := range files {
					found = found || bytes > 0 && strings.HasPrefix(name, fmt.Sprintf("%s/core/%s_%d_", spool, id, down.pid)) && strings.HasSuffix(name, kind)
				}
				if !found {
					h.find("lost evidence", "%s, pid %d, crashed at %d: no %s", id, down.pid, down.from, kind)
				}
			}
		}
	}
	h.figure("crashes", "%d, with core, description and stacks", n)
}

// commands looks for the answers of diagfifo.
func (h *history) commands() {
	answered, excused := 0, 0
	for name, q := range h.questions {
		by := q.at + answerBy
		killed := false
		for _, o := range h.outs["diagfifo"+q.id] {
			switch {
			case o.what == "pause diagfifo" && o.meets(q.at, by):
				by = max(by, o.to+answerBy)
			case o.meets(q.at-breath, by):
				killed = true
			}
		}
		switch {
		case q.answered != 0 && q.answered <= by:
			answered++
		case killed || meets(h.full[run], q.at-settle, by) || q.at > h.last-30000:
			excused++
		default:
			h.find("lost commands", "%s, %q at %d: not answered by %d", name, q.verb, q.at, by)
		}
	}
	h.figure("commands", "%d answered, %d lost with a killed server or on a full disk", answered, excused)
}
