package watch

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

const (
	memoryVersion = 1
	// memoryMax bounds what is read: some 300,000 ids.
	memoryMax = 100 << 20
	// A change of state is saved within saveSoon; beats alone, which a restart
	// finds again in their files, after saveLate.
	saveSoon = time.Second
	saveLate = time.Minute
)

// memory keeps what is known over a restart, in a file of lines: a header, then
// one for each id.
type memory struct {
	*rundir.Keep
	boot string
	log  Log

	changed bool // a state has changed since it was saved
	saved   time.Duration
	fault   string // that was told
}

// openMemory locks the memory in path, whose directory must be one to be
// trusted.
func openMemory(path, boot string, log Log) (*memory, error) {
	k, err := rundir.OpenKeep(path)
	if err != nil {
		return nil, err
	}
	return &memory{Keep: k, boot: boot, log: log}, nil
}

// load gives what was saved in this boot, and when. What cannot be read is
// told, and nothing is known then; of another boot, no time means anything.
func (m *memory) load(now time.Duration) (entries []*entry, at time.Duration) {
	b, err := m.Read(memoryMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0
	}
	if err == nil {
		entries, at, err = parseMemory(b, m.boot, now)
		if err != nil {
			err = fmt.Errorf("%s: %w", m.Path(), err)
		}
	}
	if err != nil {
		m.log.Warn(err.Error() + ": nothing is remembered")
		return nil, 0
	}
	return entries, at
}

// parseMemory reads a memory; nothing of it counts if the boot is another one.
func parseMemory(b []byte, boot string, now time.Duration) (entries []*entry, at time.Duration, err error) {
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, 0, errors.New("no line feed")
	}
	at, saved, err := parseHead(head)
	if err != nil {
		return nil, 0, fmt.Errorf("line 1: %w", err)
	}
	if saved != boot {
		return nil, 0, nil
	}
	if at > now {
		return nil, 0, errors.New("line 1: at_ms is of the future")
	}
	ids := map[string]bool{}
	for n := 2; len(rest) > 0; n++ {
		var line []byte
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return nil, 0, fmt.Errorf("line %d: no line feed", n)
		}
		e, err := parseEntry(line, at)
		if err == nil && ids[e.id] {
			err = fmt.Errorf("id %q again", e.id)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", n, err)
		}
		ids[e.id] = true
		entries = append(entries, &e)
	}
	return entries, at, nil
}

func parseHead(line []byte) (at time.Duration, boot string, err error) {
	var v, ms64 int64
	err = jsonline.Parse(line, func(key string, val jsonline.Value) (err error) {
		switch key {
		case "v":
			v, err = val.Int()
		case "boot":
			boot, err = val.Str()
			boot = strings.Clone(boot)
		case "at_ms":
			ms64, err = val.Int()
		}
		return err
	})
	switch {
	case err != nil:
		return 0, "", err
	case v != memoryVersion:
		return 0, "", fmt.Errorf("version %d: want %d", v, memoryVersion)
	case ms64 < 0 || ms64 > maxDuration.Milliseconds():
		return 0, "", errors.New("at_ms: out of range")
	}
	return ms(ms64), boot, nil
}

// save writes what is known at now. A fault is told once.
func (m *memory) save(entries []*entry, now time.Duration) {
	var w jsonline.Writer
	w.Object("")
	w.Int("v", memoryVersion)
	w.Str("boot", m.boot)
	w.Int("at_ms", now.Milliseconds())
	w.End()
	b := append(w.Bytes(), '\n')
	var line jsonline.Writer
	for i := range entries {
		if e := entries[i]; e.memorable() {
			line.Reset()
			e.append(&line)
			b = append(append(b, line.Bytes()...), '\n')
		}
	}
	text := ""
	if err := m.Write(b); err != nil {
		text = err.Error()
	}
	if text != m.fault && text != "" {
		m.log.Warn(text + "; it is tried again")
	}
	m.fault, m.saved, m.changed = text, now, false
}

// due tells whether it is time to save.
func (m *memory) due(now time.Duration) bool {
	return m.changed && now-m.saved >= saveSoon || now-m.saved >= saveLate
}

// recall takes in what was known at a time.
func (c *Core) recall(entries []*entry, at, now time.Duration) {
	for _, old := range entries {
		key := c.New(old.id, noSource, false, now)
		old.detector = c.entries[key].detector
		old.source, old.visited, old.read = noSource, at, at
		c.states[Unknown]--
		c.states[old.state]++
		c.entries[key] = old
	}
}
