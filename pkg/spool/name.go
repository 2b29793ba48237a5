package spool

import (
	"strconv"
	"strings"
	"time"
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
	return string(name) + "_" + strconv.Itoa(pid) + "_" + at.UTC().Format(stampForm)
}

// parts takes the name of a file apart. ok says that it is one that this
// package gives: anything else in a directory is somebody else's.
func parts(file string) (base, program string, pid int, at time.Time, ok bool) {
	for _, suffix := range Suffixes {
		if base, ok = strings.CutSuffix(file, suffix); ok {
			break
		}
	}
	rest, stamp, found := cutLast(base)
	program, number, found2 := cutLast(rest)
	if !ok || !found || !found2 || program == "" {
		return "", "", 0, at, false
	}
	at, err := time.Parse(stampForm, stamp)
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
