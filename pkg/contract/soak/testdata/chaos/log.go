package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// boottime reads the clock by which everything here is told, in ms: no step moves it.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return ts.Nano() / 1e6
}

// A truth is what was done and seen, one JSON object to a line.
type truth struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// put adds a line; pairs are names and values.
func (l *truth) put(kind string, pairs ...any) int64 {
	line := map[string]any{"kind": kind}
	for i := 0; i < len(pairs); i += 2 {
		line[pairs[i].(string)] = pairs[i+1]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := boottime()
	line["bt"] = now
	b, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	l.text.Write(append(b, '\n'))
	return now
}

// lines adds what comes from a reader, line by line, until its end.
func (l *truth) lines(kind string, from io.Reader) {
	for s := bufio.NewScanner(from); s.Scan(); {
		l.put(kind, "line", s.Text())
	}
}

// print shows all of it on the console: packed, for a console is slow.
func (l *truth) print() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var packed strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	zip := gzip.NewWriter(text)
	_, err := zip.Write(l.text.Bytes())
	check(err)
	check(zip.Close())
	check(text.Close())
	out := bufio.NewWriter(os.Stdout)
	for rest := packed.String(); rest != ""; {
		n := min(len(rest), 100)
		fmt.Fprintf(out, "TRUTH %s\n", rest[:n])
		rest = rest[n:]
	}
	check(out.Flush())
}

// check ends the soak: what is done here has to work, or it proves nothing.
func check(err error) {
	if err != nil {
		fmt.Printf("FAIL chaos: %v\n", err)
		os.Exit(1)
	}
}
