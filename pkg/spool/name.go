package spool

import (
	"strconv"
	"strings"
	"time"

	"vigil/pkg/jsonline"
)

// stampForm is the time in a name, in UTC. It has one width, so that names of
// one program sort as times do.
const stampForm = "20060102T150405Z"

// maxProgram keeps a name, with all that stands behind it, within NAME_MAX.
const maxProgram = 128

// Suffixes are what the files of a capture end in: the core, the core
// compressed, its description, its stacks.
var Suffixes = []string{".core", ".core.gz", ".json", ".stacks"}

// Base is the name that the files of one capture share, PROGRAM_PID_TIME.
// program may be any text, the name of an executable above all; what a file
// name must not hold becomes an underscore.
func Base(program string, pid int, at time.Time) string {
	name := []byte(program)
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && (c == '-' || c == '.'):
		default:
			name[i] = '_'
		}
	}
	if len(name) == 0 {
		name = []byte("_")
	}
	name = name[:min(len(name), maxProgram)]
	return string(name) + "_" + strconv.Itoa(pid) + "_" + stamp(at)
}

// stamp writes a moment in stampForm. Package time would do, but what it knows
// of time zones weighs 50 kB.
func stamp(at time.Time) string {
	b := jsonline.AppendTime(nil, at.Unix()*1000)
	return strings.NewReplacer("-", "", ":", "", ".000", "").Replace(string(b))
}

// parseStamp is its reverse. What is no date gives any moment, so that the caller
// compares.
func parseStamp(s string) (time.Time, error) {
	if len(s) != len(stampForm) {
		return time.Time{}, strconv.ErrSyntax
	}
	var v [6]int64
	for i, f := range []string{s[:4], s[4:6], s[6:8], s[9:11], s[11:13], s[13:15]} {
		n, err := strconv.ParseUint(f, 10, 16)
		if err != nil {
			return time.Time{}, err
		}
		v[i] = int64(n)
	}
	// The day of a year that begins in March, so that the leap day is its last.
	year, month := v[0], v[1]-3
	if month < 0 {
		year, month = year-1, month+12
	}
	day := (153*month+2)/5 + v[2] - 1
	days := year*365 + year/4 - year/100 + year/400 + day - 719468
	return time.Unix(days*86400+v[3]*3600+v[4]*60+v[5], 0), nil
}

// parts takes the name of a file apart. ok says that it is one that this
// package gives: anything else in a directory is somebody else's.
func parts(file string) (base, program string, pid int, at time.Time, ok bool) {
	for _, suffix := range Suffixes {
		if base, ok = strings.CutSuffix(file, suffix); ok {
			break
		}
	}
	rest, when, found := cutLast(base)
	program, number, found2 := cutLast(rest)
	if !ok || !found || !found2 || program == "" {
		return "", "", 0, at, false
	}
	at, err := parseStamp(when)
	pid, err2 := strconv.Atoi(number)
	if err != nil || err2 != nil || pid <= 0 || Base(program, pid, at) != base {
		return "", "", 0, at, false
	}
	return base, program, pid, at, true
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// Program is the part of a name that Base made of its program.
func Program(base string) string {
	rest, _, _ := cutLast(base)
	program, _, _ := cutLast(rest)
	return program
}
