package procfs

import (
	"bytes"
	"strconv"
)

// Status is /proc/PID/status as far as anybody asked for it. Lines that an
// older kernel does not write leave their field at zero.
type Status struct {
	State      byte
	TGID       int
	PID        int
	PPID       int
	TracerPID  int    // 0 when nobody traces it
	UID        [4]int // real, effective, saved, file system
	GID        [4]int
	NSPID      []int // its pid in each nested pid namespace, the reader's first
	VMPeak     uint64
	VMSize     uint64 // bytes, as all sizes here
	VMHWM      uint64
	VMRSS      uint64
	RSSAnon    uint64
	VMPin      uint64 // pinned for good: devices may write to it behind the page tables
	VMSwap     uint64
	Threads    int
	SigPnd     uint64 // pending for this thread; bit n-1 is signal n
	ShdPnd     uint64 // pending for the process
	SigBlk     uint64
	SigIgn     uint64
	SigCgt     uint64
	CapEff     uint64 // effective capabilities; bit n is capability n
	NoNewPrivs bool
	Dumping    bool // its core is being taken (CoreDumping, from Linux 4.15 on)
	Seccomp    int  // 0 off, 1 strict, 2 filter
	VolCtxt    uint64
	NonvolCtxt uint64
}

// ParseStatus parses the content of /proc/PID/status. A line that is not known
// is skipped; the error, for a known line with a bad value or for a text
// without State, is a *SyntaxError.
func ParseStatus(b []byte) (Status, error) {
	var s Status
	fields := statusFields(&s)
	line := 0
	for len(b) > 0 {
		line++
		var l []byte
		l, b, _ = bytes.Cut(b, []byte{'\n'})
		key, val, ok := bytes.Cut(l, []byte{':'})
		if !ok {
			continue
		}
		set := fields[string(key)]
		if set == nil {
			continue
		}
		if !set(bytes.TrimSpace(val)) {
			return Status{}, &SyntaxError{"status", line, "bad value of " + string(key)}
		}
	}
	if s.State == 0 {
		return Status{}, &SyntaxError{"status", line, "no State"}
	}
	return s, nil
}

func statusFields(s *Status) map[string]func(v []byte) bool {
	return map[string]func(v []byte) bool{
		"State": func(v []byte) bool {
			if len(v) > 0 {
				s.State = v[0]
			}
			return len(v) > 0
		},
		"Tgid":                       number(&s.TGID),
		"Pid":                        number(&s.PID),
		"PPid":                       number(&s.PPID),
		"TracerPid":                  number(&s.TracerPID),
		"Uid":                        ids(&s.UID),
		"Gid":                        ids(&s.GID),
		"NSpid":                      func(v []byte) bool { return numbers(v, &s.NSPID) },
		"VmPeak":                     size(&s.VMPeak),
		"VmSize":                     size(&s.VMSize),
		"VmHWM":                      size(&s.VMHWM),
		"VmRSS":                      size(&s.VMRSS),
		"RssAnon":                    size(&s.RSSAnon),
		"VmPin":                      size(&s.VMPin),
		"VmSwap":                     size(&s.VMSwap),
		"Threads":                    number(&s.Threads),
		"SigPnd":                     mask(&s.SigPnd),
		"ShdPnd":                     mask(&s.ShdPnd),
		"SigBlk":                     mask(&s.SigBlk),
		"SigIgn":                     mask(&s.SigIgn),
		"SigCgt":                     mask(&s.SigCgt),
		"CapEff":                     mask(&s.CapEff),
		"Seccomp":                    number(&s.Seccomp),
		"NoNewPrivs":                 func(v []byte) bool { s.NoNewPrivs = string(v) == "1"; return true },
		"CoreDumping":                func(v []byte) bool { s.Dumping = string(v) == "1"; return true },
		"voluntary_ctxt_switches":    count(&s.VolCtxt),
		"nonvoluntary_ctxt_switches": count(&s.NonvolCtxt),
	}
}

func number(p *int) func([]byte) bool {
	return func(v []byte) (ok bool) { *p, ok = atoi(v); return ok }
}

func atoi(v []byte) (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil
}

func count(p *uint64) func([]byte) bool {
	return func(v []byte) (ok bool) {
		n, err := strconv.ParseUint(string(v), 10, 64)
		*p = n
		return err == nil
	}
}

// mask reads a set of bits, of which mips has 128 for its signals: those above 64
// are for nobody here.
func mask(p *uint64) func([]byte) bool {
	return func(v []byte) (ok bool) {
		if len(v) == 32 {
			v = v[16:]
		}
		n, err := strconv.ParseUint(string(v), 16, 64)
		*p = n
		return err == nil
	}
}

func size(p *uint64) func([]byte) bool {
	return func(v []byte) (ok bool) { *p, ok = kilobytes(v); return ok }
}

// kilobytes reads "123 kB" and returns bytes.
func kilobytes(v []byte) (uint64, bool) {
	n, ok := bytes.CutSuffix(v, []byte(" kB"))
	if !ok {
		return 0, false
	}
	kb, err := strconv.ParseUint(string(bytes.TrimSpace(n)), 10, 53)
	return kb << 10, err == nil
}

func ids(p *[4]int) func([]byte) bool {
	return func(v []byte) bool {
		var n []int
		if !numbers(v, &n) || len(n) != len(p) {
			return false
		}
		copy(p[:], n)
		return true
	}
}

func numbers(v []byte, p *[]int) bool {
	*p = nil
	for _, f := range bytes.Fields(v) {
		n, ok := atoi(f)
		if !ok {
			return false
		}
		*p = append(*p, n)
	}
	return true
}

// ReadStatus reads /proc/PID/status. It never blocks on the target.
func ReadStatus(pid int) (Status, error) { return readStatus(pid, "status") }

// ReadTaskStatus reads the status of one thread of pid.
func ReadTaskStatus(pid, tid int) (Status, error) { return readStatus(pid, taskPath(tid, "status")) }

func readStatus(pid int, name string) (Status, error) {
	b, err := readWhole(pid, name, maxSmall)
	if err != nil {
		return Status{}, err
	}
	s, err := ParseStatus(b)
	if err != nil {
		return Status{}, wrap(pid, name, err)
	}
	return s, nil
}
