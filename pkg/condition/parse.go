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
