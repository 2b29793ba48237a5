package procfs

import (
	"bytes"
	"strconv"
	"strings"
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
	MinFlt    uint64 // page faults without I/O
	MajFlt    uint64 // and with
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

	// 0 where the kernel does not tell; the code only to those with the rights to
	// trace the process.
	ExitSignal int // that its parent gets
	ExitCode   int // of a zombie, as wait(2) gives it
}

const pfKthread = 0x00200000 // PF_KTHREAD

// Kernel says whether the process is a kernel thread: it has no memory of its
// own and cannot be traced.
func (s Stat) Kernel() bool { return s.Flags&pfKthread != 0 }

// ParseStat parses the content of /proc/PID/stat. The name may hold spaces,
// parentheses and newlines: it ends at the last parenthesis. The error is a
// *SyntaxError.
func ParseStat(b []byte) (Stat, error) {
	bad := func(detail string) (Stat, error) { return Stat{}, &SyntaxError{"stat", 1, detail} }
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return bad("no name in parentheses")
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil || pid < 0 {
		return bad("no process id")
	}
	state, rest, _ := strings.Cut(strings.TrimSpace(string(b[end+1:])), " ")
	if len(state) != 1 {
		return bad("no state letter")
	}
	var v [21]int64 // the fields from number 4 (ppid) to 24 (rss)
	for i := range v {
		var word string
		word, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
		if word == "" {
			return bad("only " + strconv.Itoa(3+i) + " fields")
		}
		var ok bool
		if v[i], ok = parseWord(word); !ok {
			return bad("field " + strconv.Itoa(4+i) + " is no number")
		}
	}
	tail := strings.Fields(rest) // from number 25 on
	last := func(number int) int {
		if number-25 >= len(tail) {
			return 0
		}
		n, _ := strconv.Atoi(tail[number-25])
		return n
	}
	return Stat{
		PID: pid, Comm: string(b[open+1 : end]), State: state[0],
		PPID: int(v[0]), PGRP: int(v[1]), Session: int(v[2]), TTY: int(v[3]), TPGID: int(v[4]), Flags: uint64(v[5]),
		MinFlt: uint64(v[6]), MajFlt: uint64(v[8]), UTime: uint64(v[10]), STime: uint64(v[11]), CUTime: v[12], CSTime: v[13],
		Priority: int(v[14]), Nice: int(v[15]), Threads: int(v[16]),
		StartTime: uint64(v[18]), VSize: uint64(v[19]), RSS: v[20],
		ExitSignal: last(38), ExitCode: last(52),
	}, nil
}

// parseWord reads a signed or an unsigned 64-bit number into the same bits.
func parseWord(word string) (int64, bool) {
	if v, err := strconv.ParseInt(word, 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(word, 10, 64)
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
