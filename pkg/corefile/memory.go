package corefile

import (
	"errors"
	"io"
	"slices"
	"sort"
	"strings"

	"vigil/pkg/fmt"
)

// ErrNoMemory is reported (errors.Is) for an address that the core does not
// hold: it was not mapped, or was left out.
var ErrNoMemory = errors.New("not in the core")

// Memory reads the memory that a core holds; an offset is an address. It is safe
// for concurrent use if the reader of the core is.
type Memory struct {
	r        io.ReaderAt
	segments []Segment // by address, those with bytes only
}

// Memory gives access to the memory in c.
func (c *Core) Memory() *Memory {
	m := &Memory{r: c.r}
	for _, s := range c.Segments {
		if s.FileSize > 0 && s.FileSize <= s.MemSize && s.Address+s.FileSize > s.Address && s.Offset < 1<<62 {
			m.segments = append(m.segments, s)
		}
	}
	sort.Sort(byAddress(m.segments))
	return m
}

// byAddress sorts segments.
type byAddress []Segment

func (b byAddress) Len() int           { return len(b) }
func (b byAddress) Less(i, j int) bool { return b[i].Address < b[j].Address }
func (b byAddress) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// ReadAt reads up to the first byte that is not there; n is less than len(p) only
// with an error.
func (m *Memory) ReadAt(p []byte, addr int64) (n int, err error) {
	for n < len(p) {
		a := uint64(addr) + uint64(n)
		i, _ := slices.BinarySearchFunc(m.segments, a, func(s Segment, a uint64) int {
			if s.Address+s.FileSize <= a {
				return -1
			}
			return 1
		})
		if i == len(m.segments) || a < m.segments[i].Address {
			return n, ErrNoMemory
		}
		s := m.segments[i]
		k := min(uint64(len(p)-n), s.Address+s.FileSize-a)
		got, err := m.r.ReadAt(p[n:n+int(k)], int64(s.Offset+a-s.Address))
		n += got
		if got < int(k) {
			return n, err // a core that was cut off
		}
	}
	return n, nil
}

// maxFiles bounds what is believed of a NT_FILE note; vm.max_map_count is 65530.
const maxFiles = 1 << 20

// ParseFile is the reverse of AppendFile.
func ParseFile(desc []byte) ([]FileMapping, error) {
	if len(desc) < 16 {
		return nil, fmt.Errorf("core: NT_FILE: %d bytes", len(desc))
	}
	count, pageSize := le.Uint64(desc), le.Uint64(desc[8:])
	desc = desc[16:]
	if count > maxFiles || count > uint64(len(desc))/24 {
		return nil, fmt.Errorf("core: NT_FILE: %d mappings in %d bytes", count, len(desc))
	}
	names := string(desc[24*count:])
	files := make([]FileMapping, 0, count)
	for ; count > 0; count-- {
		name, rest, ok := strings.Cut(names, "\x00")
		if !ok {
			return nil, errors.New("core: NT_FILE: a name is missing")
		}
		files = append(files, FileMapping{Start: le.Uint64(desc), End: le.Uint64(desc[8:]), Offset: le.Uint64(desc[16:]) * pageSize, Name: name})
		desc, names = desc[24:], rest
	}
	return files, nil
}

// Auxiliary vector (getauxval(3)).
const (
	ATPhdr        = 3  // address of the program headers of the program
	ATPhnum       = 5  // their number
	ATBase        = 7  // address of the dynamic loader; 0 without one
	ATSysinfoEHDR = 33 // address of the vdso
)

// AuxvValue returns the value of a type in a NT_AUXV note.
func AuxvValue(desc []byte, typ uint64) (uint64, bool) {
	for ; len(desc) >= 16; desc = desc[16:] {
		if le.Uint64(desc) == typ {
			return le.Uint64(desc[8:]), true
		}
	}
	return 0, false
}

// ParsePrpsinfo is the reverse of AppendPrpsinfo, as far as that keeps all.
func ParsePrpsinfo(desc []byte) (Prpsinfo, error) {
	const size = 136
	if len(desc) != size {
		return Prpsinfo{}, fmt.Errorf("core: prpsinfo: %d bytes", len(desc))
	}
	id := func(i int) int { return int(int32(le.Uint32(desc[16+4*i:]))) }
	text := func(b []byte) string {
		s, _, _ := strings.Cut(string(b), "\x00")
		return s
	}
	return Prpsinfo{
		State: desc[1],
		Nice:  int(int8(desc[3])),
		Flags: le.Uint64(desc[8:]),
		UID:   id(0),
		GID:   id(1),
		PID:   id(2),
		PPID:  id(3),
		PGRP:  id(4),
		SID:   id(5),
		Name:  text(desc[40:56]),
		Args:  text(desc[56:]),
	}, nil
}
