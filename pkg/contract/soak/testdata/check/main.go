// Check compares what was done to a host, and seen on it, with what vigil said:
// the truth of the soak in a file, one JSON object to a line. It prints figures,
// then its findings; with any it leaves with 1. It knows of vigil what the man
// pages say, and uses none of its code.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check TRUTH")
		os.Exit(100)
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(111)
	}
	r := &report{}
	h := newHistory(r)
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<24)
	for n := 1; in.Scan(); n++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			r.find("truth", "line %d: %v", n, err)
			continue
		}
		h.read(&l)
	}
	if err := in.Err(); err != nil {
		r.find("truth", "%v", err)
	}
	h.close()
	h.deaths()
	h.holds()
	h.tools()
	h.evidence()
	h.commands()
	h.growth()
	h.figures()
	for _, text := range r.figures {
		fmt.Println(text)
	}
	for _, text := range r.findings {
		fmt.Println("FINDING " + text)
	}
	if len(r.findings) > 0 {
		os.Exit(1)
	}
}

// A report is what comes of it.
type report struct {
	figures, findings []string
}

func (r *report) find(what, format string, args ...any) {
	r.findings = append(r.findings, what+": "+fmt.Sprintf(format, args...))
}

func (r *report) figure(name, format string, args ...any) {
	r.figures = append(r.figures, fmt.Sprintf("%-28s ", name)+fmt.Sprintf(format, args...))
}
