package explain

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

const (
	countMax = 1 << 16   // where counting descriptors ends
	filesMax = 1024      // descriptors that are looked at
	mapsText = 1 << 20   // bytes of maps that are read
	mapsMax  = 256       // objects that are told
	listMax  = 256       // rows of each list of a dump
	textMax  = 256 << 10 // of an answer
)

// file is one open descriptor.
type file struct {
	fd     int
	target string
}

// open are the open descriptors of a process.
type open struct {
	total int    // countMax: or more
	files []file // the first filesMax
	kinds []tally
}

// tally is a word with a number.
type tally struct {
	word  string
	count int
}

func count(tallies []tally, word string) []tally {
	for i := range tallies {
		if tallies[i].word == word {
			tallies[i].count++
			return tallies
		}
	}
	return append(tallies, tally{word, 1})
}

// kind says what a descriptor is, by what its link reads: "socket:[4711]",
// "anon_inode:[eventpoll]" or a path.
func kind(target string) string {
	switch word, rest, ok := strings.Cut(target, ":"); {
	case strings.HasPrefix(target, "/dev/"):
		return "device"
	case strings.HasPrefix(target, "/memfd:"):
		return "memfd"
	case strings.HasPrefix(target, "/"):
		return "file"
	case ok && word == "anon_inode":
		return cli.Escape(strings.Trim(rest, "[]"))
	case ok:
		return cli.Escape(word)
	}
	return "other"
}

// openFiles looks at the descriptors of a process. With an error they may still
// be counted: that needs less.
func openFiles(done <-chan struct{}, pid int) (open, error) {
	var o open
	fds, _, err := procfs.Descriptors(pid, countMax)
	if err != nil {
		return o, err
	}
	o.total = len(fds)
	slices.Sort(fds)
	for _, fd := range fds[:min(len(fds), filesMax)] {
		select {
		case <-done:
			return o, nil
		default:
		}
		target, err := procfs.Descriptor(pid, fd)
		if errors.Is(err, fs.ErrNotExist) {
			o.total-- // closed meanwhile
			continue
		}
		if err != nil {
			return o, err
		}
		o.files = append(o.files, file{fd, target})
		o.kinds = count(o.kinds, kind(target))
	}
	slices.SortStableFunc(o.kinds, func(a, b tally) int { return cmp.Compare(b.count, a.count) })
	return o, nil
}

// countFiles counts the descriptors of a process without looking at any.
func countFiles(pid int) (int, error) {
	fds, _, err := procfs.Descriptors(pid, countMax)
	return len(fds), err
}

func (p *Process) fds(c control.Call) (control.Reply, error) {
	return p.look(func(st procfs.Stat, r *control.Reply) error {
		o, err := openFiles(c.Done, st.PID)
		if err != nil {
			return err
		}
		r.Add("fds", o.total)
		for _, k := range o.kinds[:min(len(o.kinds), 8)] {
			r.Pairs = append(r.Pairs, control.Pair{Key: "kind_" + keyWord(k.word), Value: fmt.Sprint(k.count)})
		}
		b := []byte("FD\tTARGET\n")
		shown := 0
		for _, f := range o.files {
			if len(b) > textMax {
				break
			}
			b = fmt.Appendf(b, "%d\t%s\n", f.fd, cli.Escape(f.target))
			shown++
		}
		if shown < o.total {
			r.Add("truncated", "yes")
		}
		r.Data = b
		return nil
	})
}

// keyWord makes a word fit for a key.
func keyWord(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, s)
	return s[:min(len(s), 24)]
}

// object is what one name in the address space has.
type object struct {
	name     string
	count    int    // of mappings
	bytes    uint64 // of address space, whether used or not
	writable uint64 // of those
	exec     bool
}

// objects puts the mappings of one name together, the largest first. Where in
// the address space they lie is not told: that is half of an attack.
func objects(maps []procfs.Mapping) []object {
	var found []object
	at := map[string]int{}
	for _, m := range maps {
		name := m.Name
		if name == "" {
			name = "[anonymous]"
		}
		i, ok := at[name]
		if !ok {
			i = len(found)
			at[name] = i
			found = append(found, object{name: name})
		}
		o := &found[i]
		o.count++
		o.bytes += m.Size()
		if m.Perm[1] == 'w' {
			o.writable += m.Size()
		}
		o.exec = o.exec || m.Perm[2] == 'x'
	}
	slices.SortStableFunc(found, func(a, b object) int { return cmp.Compare(b.bytes, a.bytes) })
	return found
}

func (p *Process) maps(control.Call) (control.Reply, error) {
	return p.look(func(st procfs.Stat, r *control.Reply) error {
		maps, cut, err := procfs.ReadMaps(st.PID, mapsText)
		if err != nil {
			return err
		}
		found := objects(maps)
		r.Add("mappings", len(maps))
		r.Add("objects", len(found))
		if cut || len(found) > mapsMax {
			r.Add("truncated", "yes")
		}
		b := []byte("BYTES\tWRITABLE\tMAPPINGS\tEXEC\tNAME\n")
		for _, o := range found[:min(len(found), mapsMax)] {
			exec := "-"
			if o.exec {
				exec = "x"
			}
			b = fmt.Appendf(b, "%d\t%d\t%d\t%s\t%s\n", o.bytes, o.writable, o.count, exec, cli.Escape(o.name))
		}
		r.Data = b
		return nil
	})
}

// limitWord writes a limit for people.
func limitWord(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

func (p *Process) limits(control.Call) (control.Reply, error) {
	return p.look(func(st procfs.Stat, r *control.Reply) error {
		limits, err := procfs.ReadLimits(st.PID)
		if err != nil {
			return err
		}
		b := []byte("LIMIT\tSOFT\tHARD\tUSED\n")
		for _, l := range limits {
			b = fmt.Appendf(b, "%s\t%s\t%s\t%s\n", l.Name, limitWord(l.Soft), limitWord(l.Hard), used(st, l.Name))
		}
		r.Data = b
		return nil
	})
}

// used says how much of a limit the process has taken, where that is known.
func used(st procfs.Stat, limit string) string {
	switch limit {
	case "nofile":
		if n, err := countFiles(st.PID); err == nil {
			return fmt.Sprint(n)
		}
	case "as":
		return fmt.Sprint(st.VSize)
	case "cpu":
		return fmt.Sprint(ticksMS(st.UTime+st.STime) / 1000)
	}
	return "-"
}
