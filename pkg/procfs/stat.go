package procfs

import (
	"bytes"
	"strconv"
)

// Stat is /proc/PID/stat as far as anybody asked for it.
type Stat struct {
	PID       int
	Comm      string // raw: any byte but NUL, at most 15 for a program, 63 for a kernel worker
	State     byte   // R S D Z T t X I …
	PPID      int
	PGRP      int
	Session   int
	TTY       int
	TPGID     int
	Flags     uint64 // PF_* of include/linux/sched.h
	UTime     uint64 // ticks, as all times here: see TicksPerSecond
	STime     uint64
	CUTime    int64 // of waited-for children
	CSTime    int64
	Priority  int
	Nice      int
	Threads   int
	StartTime uint64 // ticks since boot; with the pid it names a process for good
	VSize     uint64 // bytes
	RSS       int64  // pages
}

const pfKthread = 0x00200000 // PF_KTHREAD

// Kernel says whether the process is a kernel thread: it has no memory of its
// own and cannot be traced.
func (s Stat) Kernel() bool { return s.Flags&pfKthread != 0 }

// statFields are the fields behind comm and state, from number 4 (ppid) on. An
// empty entry is skipped.
var statFields = [...]func(s *Stat, v int64){
	func(s *Stat, v int64) { s.PPID = int(v) },
	func(s *Stat, v int64) { s.PGRP = int(v) },
	func(s *Stat, v int64) { s.Session = int(v) },
	func(s *Stat, v int64) { s.TTY = int(v) },
	func(s *Stat, v int64) { s.TPGID = int(v) },
	func(s *Stat, v int64) { s.Flags = uint64(v) },
	nil, nil, nil, nil, // minflt cminflt majflt cmajflt
	func(s *Stat, v int64) { s.UTime = uint64(v) },
	func(s *Stat, v int64) { s.STime = uint64(v) },
	func(s *Stat, v int64) { s.CUTime = v },
	func(s *Stat, v int64) { s.CSTime = v },
	func(s *Stat, v int64) { s.Priority = int(v) },
	func(s *Stat, v int64) { s.Nice = int(v) },
	func(s *Stat, v int64) { s.Threads = int(v) },
	nil, // itrealvalue
	func(s *Stat, v int64) { s.StartTime = uint64(v) },
	func(s *Stat, v int64) { s.VSize = uint64(v) },
	func(s *Stat, v int64) { s.RSS = v },
}

// ParseStat parses the content of /proc/PID/stat. The name may hold spaces,
// parentheses and newlines: it ends at the last parenthesis. The error is a
// *SyntaxError.
func ParseStat(b []byte) (Stat, error) {
	var s Stat
	bad := func(detail string) (Stat, error) { return Stat{}, &SyntaxError{"stat", 1, detail} }
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return bad("no name in parentheses")
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil || pid < 0 {
		return bad("no process id")
	}
	s.PID, s.Comm = pid, string(b[open+1:end])
	rest := bytes.Fields(b[end+1:])
	if len(rest) < 1+len(statFields) {
		return bad("only " + strconv.Itoa(2+len(rest)) + " fields")
	}
	if len(rest[0]) != 1 {
		return bad("no state letter")
	}
	s.State = rest[0][0]
	for i, set := range statFields {
		if set == nil {
			continue
		}
		v, ok := parseWord(rest[1+i])
		if !ok {
			return bad("field " + strconv.Itoa(4+i) + " is no number")
		}
		set(&s, v)
	}
	return s, nil
}

// parseWord reads a signed or an unsigned 64-bit number into the same bits.
func parseWord(b []byte) (int64, bool) {
	if v, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(string(b), 10, 64)
	return int64(v), err == nil
}

// ReadStat reads /proc/PID/stat. It never blocks on the target.
func ReadStat(pid int) (Stat, error) { return readStat(pid, "stat") }

// ReadTaskStat reads the stat of one thread of pid.
func ReadTaskStat(pid, tid int) (Stat, error) { return readStat(pid, taskPath(tid, "stat")) }

func readStat(pid int, name string) (Stat, error) {
	b, err := readWhole(pid, name, maxSmall)
	if err != nil {
		return Stat{}, err
	}
	s, err := ParseStat(b)
	if err != nil {
		return Stat{}, wrap(pid, name, err)
	}
	return s, nil
}
