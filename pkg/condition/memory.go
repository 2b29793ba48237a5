package condition

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

const (
	memoryVersion = 1
	memoryMax     = 1 << 20
	// A change that is not saved is at worst seen again as a change, at the start.
	saveEvery = 5 * time.Second
)

// memory is -state: what was seen of the files of -fresh, over a restart. A header
// line, then one for each file.
type memory struct {
	path  string
	keep  *rundir.Keep // nil before it is opened
	boot  string
	saved time.Duration
	last  []byte // what it holds
	fault string // as told last
}

// recalled is a probe that has something to remember.
type recalled interface {
	memory() (path string, w *watch, bt *int64)
}

func (p *fileProbe) memory() (string, *watch, *int64) { return p.path, &p.watch, new(int64) }
func (p *beatProbe) memory() (string, *watch, *int64) { return p.path, &p.beat.watch, &p.beat.last }

// recall opens the memory and takes in what it has of this boot. What it says of files
// that nobody asks about is dropped.
func (s *Set) recall() (err error) {
	m := &s.memory
	if m.boot, err = boottime.ID(); err != nil {
		return err
	}
	if m.keep, err = rundir.OpenKeep(m.path); err != nil {
		return err
	}
	b, err := m.keep.Read(memoryMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var lines []line
	if err == nil {
		lines, err = parseMemory(b, m.boot, boottime.Now())
	}
	if err != nil {
		s.warn(fmt.Sprintf("%s: %s; nothing is remembered", m.path, cause(err)))
	}
	for _, e := range s.entries {
		if r, ok := e.probe.(recalled); ok {
			path, w, bt := r.memory()
			for i := range lines {
				if lines[i].path == path {
					*w, *bt = lines[i].watch(), lines[i].bt
				}
			}
		}
	}
	return nil
}

// save writes what is known, if it is time or the end. A fault is told once.
func (s *Set) save(now time.Duration, end bool) {
	m := &s.memory
	if m.keep == nil || !end && now-m.saved < saveEvery {
		return
	}
	m.saved = now
	b := s.remember(m.boot)
	if bytes.Equal(b, m.last) {
		return
	}
	err := m.keep.Write(b)
	if err == nil {
		m.last, m.fault = b, ""
		return
	}
	if text := err.Error(); text != m.fault {
		m.fault = text
		s.warn(text + "; it is tried again")
	}
}

// remember writes down what is known.
func (s *Set) remember(boot string) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Int("v", memoryVersion)
	w.Str("boot", boot)
	w.End()
	b := append(bytes.Clone(w.Bytes()), '\n')
	for _, e := range s.entries {
		r, ok := e.probe.(recalled)
		if !ok {
			continue
		}
		path, seen, bt := r.memory()
		if !seen.seen {
			continue
		}
		w.Reset()
		w.Object("")
		w.Str("file", path)
		l := lineOf(path, seen, *bt)
		for _, n := range l.numbers() {
			if *n.n != 0 {
				w.Int(n.key, *n.n)
			}
		}
		w.End()
		b = append(append(b, w.Bytes()...), '\n')
	}
	return b
}

// line is what is remembered of one file.
type line struct {
	path                 string
	dev, ino, size, mark int64
	at                   int64 // of the last sign, in milliseconds of CLOCK_BOOTTIME; 0: none
	bt                   int64 // greatest bt_ms
}

func lineOf(path string, w *watch, bt int64) line {
	l := line{path, int64(w.last.dev), int64(w.last.ino), w.last.size, w.last.mtimeNS, 0, bt}
	if w.known {
		l.at = w.at.Milliseconds()
	}
	return l
}

func (l *line) watch() watch {
	w := watch{seen: true, last: mark{uint64(l.dev), uint64(l.ino), l.size, l.mark}}
	if l.at != 0 {
		w.sign(time.Duration(l.at) * time.Millisecond)
	}
	return w
}

type number struct {
	key string
	n   *int64
}

func (l *line) numbers() [6]number {
	return [...]number{
		{"dev", &l.dev}, {"ino", &l.ino}, {"size", &l.size}, {"mtime_ns", &l.mark}, {"at_ms", &l.at}, {"bt_ms", &l.bt},
	}
}

// parseMemory reads what remember wrote; nothing of it counts if the boot is another one.
func parseMemory(b []byte, boot string, now time.Duration) ([]line, error) {
	var lines []line
	for n := 1; len(b) > 0; n++ {
		text, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("line %d: no line feed", n)
		}
		b = rest
		if n == 1 {
			same, err := parseHead(text, boot)
			if err != nil {
				return nil, fmt.Errorf("line 1: %w", err)
			}
			if !same {
				return nil, nil
			}
			continue
		}
		l, err := parseLine(text)
		if err == nil && (l.at > now.Milliseconds() || l.bt > now.Milliseconds()) {
			err = errors.New("from the future")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func parseHead(text []byte, boot string) (same bool, err error) {
	var v int64
	err = jsonline.Parse(text, func(key string, val jsonline.Value) (err error) {
		switch key {
		case "v":
			v, err = val.Int()
		case "boot":
			var id string
			id, err = val.Str()
			same = id == boot
		}
		return err
	})
	if err == nil && v != memoryVersion {
		err = fmt.Errorf("version %d, want %d", v, memoryVersion)
	}
	return same, err
}

func parseLine(text []byte) (l line, err error) {
	err = jsonline.Parse(text, func(key string, v jsonline.Value) (err error) {
		if key == "file" {
			l.path, err = v.Str()
			l.path = strings.Clone(l.path)
			return err
		}
		for _, n := range l.numbers() {
			if n.key == key {
				*n.n, err = v.Int()
			}
		}
		return err
	})
	if err == nil && l.path == "" {
		err = errors.New("no file")
	}
	return l, err
}
