package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	warm   = 3    // samples that come before a process is warmed up
	enough = 12   // samples of one process that show growth
	growKB = 1536 // a collection begins at 1 MB of garbage, which takes a quiet program minutes
)

// growth compares the most of the first third of the samples of each process with
// the least of the last: what is needed for a moment is no growth.
func (h *history) growth() {
	judged := 0
	kb, fds := map[string]int{}, map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(h.samples)) {
		all := h.samples[key]
		for _, l := range all {
			kb[l.Tool], fds[l.Tool] = max(kb[l.Tool], l.RSS), max(fds[l.Tool], l.FDs)
		}
		if len(all) < warm+enough {
			continue
		}
		judged++
		rss := func(l line) int64 { return int64(l.RSS) }
		if a, b := thirds(all[warm:], rss); b > a+growKB {
			h.find("growth", "%s: memory from %d kB to %d kB", key, a, b)
		}
		if a, b := thirds(all[warm:], func(l line) int64 { return int64(l.FDs) }); b > a {
			h.find("growth", "%s: descriptors from %d to %d", key, a, b)
		}
	}
	h.figure("processes judged for growth", "%d", judged)
	for _, tool := range slices.Sorted(maps.Keys(kb)) {
		h.figure("largest "+tool, "%d kB, %d descriptors", kb[tool], fds[tool])
	}
	if judged == 0 {
		h.find("growth", "no process was seen for long enough")
	}
	for _, dir := range slices.Sorted(maps.Keys(h.weights)) {
		h.directory(dir, h.weights[dir])
	}
	for _, l := range h.left {
		if strings.HasPrefix(l.Name, run+"/hb/") && !strings.HasSuffix(l.Name, ".hb") {
			h.find("left behind", "file %s", l.Name)
		}
	}
}

// thirds gives the most of the first third and the least of the last.
func thirds(all []line, value func(line) int64) (first, last int64) {
	n := len(all) / 3
	first, last = value(all[0]), value(all[len(all)-1])
	for i := range n {
		first, last = max(first, value(all[i])), min(last, value(all[len(all)-1-i]))
	}
	return first, last
}

// bounds are the most files that a directory may have; a service, or a server,
// has so many there by the man pages, and some are there for a moment.
func (h *history) bound(dir string) int {
	n := len(h.ids)
	asked := 0
	for key := range h.samples {
		if strings.HasPrefix(key, "diagfifo ") {
			asked++
		}
	}
	switch strings.TrimPrefix(strings.TrimPrefix(dir, run), spool) {
	case "/hb":
		return n + 4
	case "/hold": // the hold, three acknowledgements, one lock
		return 4*n + 4
	case "/ctl": // the directory, two FIFOs, last, last.dump, lock, p, r and some answers
		return asked*(8+20) + 4
	case "/state", "/prom", "/feed":
		return 8
	case "/dump": // -keep 10
		return asked*10 + 4
	case "/core": // keep 10, each with three files
		return n*30 + 4
	case "/incident": // -k 20, each with nine files at most
		return n*20*10 + 4
	case "/lost+found":
		return 2
	}
	return 0
}

func (h *history) directory(dir string, all []line) {
	most, bytes := 0, int64(0)
	for _, l := range all {
		most, bytes = max(most, l.Count), max(bytes, l.Bytes)
	}
	h.figure("most files in "+dir, "%d, %d kB", most, bytes/1024)
	if limit := h.bound(dir); most > limit {
		h.find("growth", "%s: %d files, want at most %d", dir, most, limit)
	}
	// What a run directory holds does not depend on how long it runs; but a hold
	// that was forgotten lies there until the next on that id.
	if strings.HasPrefix(dir, run) && dir != run+"/hold" && len(all) >= warm+enough {
		if a, b := thirds(all[warm:], func(l line) int64 { return int64(l.Count) }); b > a+a/4+4 {
			h.find("growth", "%s: from %d to %d files", dir, a, b)
		}
	}
}

// figures tells what was done.
func (h *history) figures() {
	longest := int64(0)
	for _, l := range h.lags {
		longest = max(longest, l.to-l.from)
	}
	var done []string
	total := 0
	for _, what := range slices.Sorted(maps.Keys(h.faults)) {
		done = append(done, fmt.Sprintf("%s %d", what, h.faults[what]))
		total += h.faults[what]
	}
	if total == 0 {
		h.find("truth", "nothing was done")
	}
	h.figure("seed", "%d", h.seed)
	h.figure("services, seconds", "%d, %d", len(h.ids), h.length/1000)
	h.figure("faults", "%d: %s", total, strings.Join(done, ", "))
	h.figure("lags of the machine, ms", "%d, longest %d", len(h.lags), longest)
	h.figure("own stalls told", "%d; records rejected %d", len(h.stalls), h.rejects)
}
