package explain

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// limit is one row of /proc/PID/limits.
type limit struct {
	name       string // as getrlimit(2) has it, lower case: nofile, core
	soft, hard int64  // -1: unlimited
}

// limitNames are the rows that are told; the others are of little use to one
// who asks why a process does not go on.
var limitNames = map[string]string{
	"Max core file size": "core", "Max open files": "nofile", "Max processes": "nproc",
	"Max address space": "as", "Max stack size": "stack", "Max file size": "fsize",
	"Max locked memory": "memlock", "Max cpu time": "cpu",
}

// parseLimits reads what of /proc/PID/limits limitNames tells (proc(5)): a name
// in 25 columns, then soft, hard and, not always, a unit.
func parseLimits(b []byte) ([]limit, error) {
	var found []limit
	for line := range bytes.Lines(b) {
		if len(line) < 26 {
			continue
		}
		name := limitNames[strings.TrimSpace(string(line[:25]))]
		if name == "" {
			continue
		}
		words := strings.Fields(string(line[25:]))
		if len(words) < 2 {
			return nil, errors.New("limits: " + name + ": want two numbers")
		}
		l := limit{name: name}
		for i, p := range []*int64{&l.soft, &l.hard} {
			if words[i] == "unlimited" {
				*p = -1
				continue
			}
			n, err := strconv.ParseUint(words[i], 10, 63)
			if err != nil {
				return nil, errors.New("limits: " + name + ": bad number")
			}
			*p = int64(n)
		}
		found = append(found, l)
	}
	return found, nil
}

func readLimits(pid int) ([]limit, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, err
	}
	return parseLimits(b)
}

// maxCount is where counting descriptors ends: the kernel's default of nr_open.
const maxCount = 1 << 20

// countFDs counts the open descriptors of a process without looking at any of
// them. It needs the right to trace the process, or its uid.
func countFDs(pid int) (int, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	count := 0
	for buf := make([]byte, 16<<10); count < maxCount; {
		n, err := syscall.ReadDirent(int(f.Fd()), buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return count, err
		}
		_, more, _ := syscall.ParseDirent(buf[:n], -1, nil)
		count += more
	}
	return count, nil
}
