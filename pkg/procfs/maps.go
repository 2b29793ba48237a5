package procfs

import (
	"bytes"
	"strconv"
	"strings"

	"vigil/pkg/fmt"
)

// Mapping is one line of /proc/PID/maps and, when it came from smaps, what the
// kernel counted below it.
type Mapping struct {
	Start, End uint64 // End is the first address behind it
	Perm       string // rwx and p(rivate) or s(hared), as "rw-p"
	Offset     uint64 // into the file, bytes
	DevMajor   uint32
	DevMinor   uint32
	Inode      uint64 // 0: no file behind it
	Name       string // as the kernel wrote it: path, "[heap]", "" …; a newline in it is \012

	// Only from smaps; bytes.
	RSS       uint64
	Anonymous uint64
	Swap      uint64
	Common    uint64 // of RSS: pages that other mappings hold as well
	THP       uint64 // of Anonymous: in transparent huge pages
	Huge      uint64 // in pages of hugetlbfs, which RSS does not count
	Flags     string // VmFlags, two letters each, separated by spaces
}

// Size is its length in bytes.
func (m Mapping) Size() uint64 { return m.End - m.Start }

// Has says whether smaps listed the VmFlag, for example "dd" (VM_DONTDUMP).
func (m Mapping) Has(flag string) bool {
	for f := range strings.FieldsSeq(m.Flags) {
		if f == flag {
			return true
		}
	}
	return false
}

// Shared says whether writes are seen by other processes (MAP_SHARED).
func (m Mapping) Shared() bool { return m.Perm[3] == 's' }

// ParseMaps parses the content of /proc/PID/maps or /proc/PID/smaps. Each
// mapping is non-empty; they are in the order of the text. The error is a
// *SyntaxError.
func ParseMaps(b []byte) ([]Mapping, error) {
	var maps []Mapping
	line := 0
	for len(b) > 0 {
		line++
		var l []byte
		l, b, _ = bytes.Cut(b, []byte{'\n'})
		if len(l) == 0 {
			continue
		}
		if key, val, ok := detail(l); ok {
			if len(maps) == 0 {
				return nil, &SyntaxError{"smaps", line, "no mapping above " + string(key)}
			}
			if !maps[len(maps)-1].count(string(key), val) {
				return nil, &SyntaxError{"smaps", line, "bad value of " + string(key)}
			}
			continue
		}
		m, detail := parseMapping(l)
		if detail != "" {
			return nil, &SyntaxError{"maps", line, detail}
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// detail splits a line of smaps, "Rss:    12 kB". A line of maps begins with an
// address and a dash, so its first word never ends in a colon.
func detail(l []byte) (key, val []byte, ok bool) {
	word, _, _ := bytes.Cut(l, []byte{' '})
	key, ok = bytes.CutSuffix(word, []byte{':'})
	if !ok || len(key) == 0 {
		return nil, nil, false
	}
	return key, bytes.TrimSpace(l[len(word):]), true
}

func (m *Mapping) count(key string, val []byte) (ok bool) {
	switch key {
	case "Rss":
		m.RSS, ok = kilobytes(val)
	case "Anonymous":
		m.Anonymous, ok = kilobytes(val)
	case "Swap":
		m.Swap, ok = kilobytes(val)
	case "Shared_Clean", "Shared_Dirty":
		var n uint64
		n, ok = kilobytes(val)
		m.Common += n
	case "AnonHugePages":
		m.THP, ok = kilobytes(val)
	case "Private_Hugetlb", "Shared_Hugetlb":
		var n uint64
		n, ok = kilobytes(val)
		m.Huge += n
	case "VmFlags":
		m.Flags, ok = string(val), true
	default:
		ok = true
	}
	return ok
}

// parseMapping reads "55639c633000-55639c635000 r--p 00000000 fe:00 247026   /usr/bin/cat".
// The name is all the rest of the line, spaces included.
func parseMapping(l []byte) (m Mapping, detail string) {
	var f [5][]byte
	for i := range f {
		l = bytes.TrimLeft(l, " ")
		f[i], l, _ = bytes.Cut(l, []byte{' '})
	}
	m.Name = string(bytes.TrimLeft(l, " "))
	start, end, ok := pair(f[0], "-", 64)
	if !ok || start >= end {
		return m, "bad address range"
	}
	m.Start, m.End = start, end
	if len(f[1]) != 4 {
		return m, "bad permissions"
	}
	m.Perm = string(f[1])
	var err error
	if m.Offset, err = strconv.ParseUint(string(f[2]), 16, 64); err != nil {
		return m, "bad offset"
	}
	major, minor, ok := pair(f[3], ":", 32)
	if !ok {
		return m, "bad device"
	}
	m.DevMajor, m.DevMinor = uint32(major), uint32(minor)
	if m.Inode, err = strconv.ParseUint(string(f[4]), 10, 64); err != nil {
		return m, "bad inode"
	}
	return m, ""
}

// pair reads two hexadecimal numbers of at most bits bits.
func pair(b []byte, sep string, bits int) (x, y uint64, ok bool) {
	l, r, ok := strings.Cut(string(b), sep)
	x, errx := strconv.ParseUint(l, 16, bits)
	y, erry := strconv.ParseUint(r, 16, bits)
	return x, y, ok && errx == nil && erry == nil
}

// ReadSmaps reads the mappings of pid in the order of their addresses, with the
// counts and flags of each; none for a kernel thread or a zombie. A target that
// runs may change them during the read; two that overlap can then both be
// listed. The kernel walks the target's page tables for it: some 10 ms per GiB.
func ReadSmaps(pid int) ([]Mapping, error) {
	const name = "smaps"
	b, cut, err := readLocked(pid, name, maxMaps, smapsLimit)
	if err != nil {
		return nil, err
	}
	if cut {
		return nil, fmt.Errorf("pid %d: %s: longer than %d bytes", pid, name, maxMaps)
	}
	maps, err := ParseMaps(b)
	if err != nil {
		return nil, wrap(pid, name, err)
	}
	return maps, nil
}
