package condition

import (
	"path"
	"strings"
	"time"

	"vigil/pkg/flag"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

// Flags adds the words to fs; each may be given several times.
func (s *Set) Flags(fs *flag.FlagSet) {
	fs.Func("fresh", "require that `[ID:]FILE=D` was beaten or changed within D (ID.hb: a heartbeat)", func(word string) error {
		id, file, within, err := parseFresh(word)
		if err != nil {
			return err
		}
		if beat, ok := heartbeat.FileID(path.Base(file)); ok {
			return s.add(id, beat, &beatProbe{path: file, within: within})
		}
		return s.add(id, path.Base(file), &fileProbe{path: file, within: within})
	})
	fs.Func("check", "require that the program `[ID:]PROG[=D]` has said yes, by exit status 0, within D (default 30s)", func(word string) error {
		id, program, within, err := parseCheck(word)
		if err != nil {
			return err
		}
		return s.add(id, path.Base(program), &checkProbe{program: program, within: within})
	})
	fs.Func("stdin", "require that a line has come over standard input within `[ID:]D`", func(word string) error {
		id, within, err := parseStdin(word)
		if err != nil {
			return err
		}
		for _, e := range s.entries {
			if _, again := e.probe.(*stdinProbe); again {
				return fmt.Errorf("given twice: there is one standard input")
			}
		}
		return s.add(id, "stdin", newStdinProbe(within))
	})
	fs.StringVar(&s.memory.path, "state", "", "remember in `FILE` over a restart when the files of -fresh last changed")
	fs.Func("pidfile", "require that the process named in `[ID:]FILE` exists and is no zombie", func(word string) error {
		id, file, err := parseNamed(word)
		if err != nil {
			return err
		}
		return s.add(id, strings.TrimSuffix(path.Base(file), ".pid"), &pidProbe{path: file})
	})
	fs.Func("exists", "require that `[ID:]FILE` exists", func(word string) error {
		id, file, err := parseNamed(word)
		if err != nil {
			return err
		}
		return s.add(id, path.Base(file), existsProbe{file})
	})
	fs.Func("absent", "require that `[ID:]FILE` does not exist", func(word string) error {
		id, file, err := parseNamed(word)
		if err != nil {
			return err
		}
		return s.add(id, path.Base(file), absentProbe{file})
	})
}

// add takes a condition under id, or else under the one that its file suggests.
func (s *Set) add(id, suggested string, p probe) error {
	if id == "" {
		id = suggested
	}
	if !heartbeat.ValidID(id) {
		return fmt.Errorf("%q is no id: write ID:FILE with an ID of 1 to 64 of A-Za-z0-9._- not starting with . or -", id)
	}
	if c, ok := p.(*checkProbe); ok {
		c.id = id
	}
	s.entries = append(s.entries, &entry{id: id, probe: p})
	return nil
}

// parseNamed splits "[ID:]FILE". What stands before the first colon is an id if
// it could be one; a file of such a name is written ./NAME.
func parseNamed(word string) (id, file string, err error) {
	file = word
	if before, after, ok := strings.Cut(word, ":"); ok && heartbeat.ValidID(before) {
		id, file = before, after
	}
	if file == "" || strings.Contains(file, "\x00") {
		return "", "", fmt.Errorf("want [ID:]FILE")
	}
	return id, file, nil
}

// parseFresh splits "[ID:]FILE=D" at the last equals sign.
func parseFresh(word string) (id, file string, within time.Duration, err error) {
	i := strings.LastIndexByte(word, '=')
	if i < 0 {
		return "", "", 0, fmt.Errorf("want [ID:]FILE=D with a duration such as 15s")
	}
	if within, err = time.ParseDuration(word[i+1:]); err != nil || within <= 0 {
		return "", "", 0, fmt.Errorf("%q: want a duration such as 15s", word[i+1:])
	}
	id, file, err = parseNamed(word[:i])
	return id, file, within, err
}

// parseCheck splits "[ID:]PROG[=D]". What follows the last equals sign is a part of
// the name unless it is a duration.
func parseCheck(word string) (id, program string, within time.Duration, err error) {
	program, within = word, checkWithin
	if i := strings.LastIndexByte(word, '='); i >= 0 {
		if d, err := time.ParseDuration(word[i+1:]); err == nil {
			program, within = word[:i], d
		}
	}
	if within < minCheckWithin {
		return "", "", 0, fmt.Errorf("%s: want at least %s", within, minCheckWithin)
	}
	id, program, err = parseNamed(program)
	if err != nil {
		err = fmt.Errorf("want [ID:]PROG or [ID:]PROG=D")
	}
	return id, program, within, err
}

// parseStdin splits "[ID:]D".
func parseStdin(word string) (id string, within time.Duration, err error) {
	text := word
	if before, after, ok := strings.Cut(word, ":"); ok && heartbeat.ValidID(before) {
		id, text = before, after
	}
	if within, err = time.ParseDuration(text); err != nil || within <= 0 {
		return "", 0, fmt.Errorf("%q: want [ID:]D with a duration such as 30s", word)
	}
	return id, within, nil
}
