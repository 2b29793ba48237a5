package procfs

import (
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Tasks returns the ids of the threads of pid in ascending order. While the
// process runs, threads come and go: ask again until nothing new appears.
func Tasks(pid int) ([]int, error) {
	d, err := os.Open(path(pid, "task"))
	if err != nil {
		return nil, wrap(pid, "task", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, wrap(pid, "task", err)
	}
	tids := make([]int, 0, len(names))
	for _, n := range names {
		if tid, err := strconv.Atoi(n); err == nil {
			tids = append(tids, tid)
		}
	}
	sort.Slice(tids, func(i, j int) bool { return tids[i] < tids[j] })
	return tids, nil
}

// Comm returns the name of the thread; at most 15 bytes, of any kind. It is asked
// for each of a thousand threads, and so spares what package os does for a file.
func Comm(pid, tid int) (string, error) {
	name := taskPath(tid, "comm")
	fd, err := syscall.Open(path(pid, name), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", wrap(pid, name, err)
	}
	defer syscall.Close(fd)
	var b [64]byte
	n, err := syscall.Read(fd, b[:])
	if err != nil {
		return "", wrap(pid, name, err)
	}
	return strings.TrimSuffix(string(b[:n]), "\n"), nil
}

// Children returns the ids of the children of all threads of pid; none on a
// kernel without CONFIG_PROC_CHILDREN.
func Children(pid int) (pids []int, err error) {
	tids, err := Tasks(pid)
	if err != nil {
		return nil, err
	}
	for _, tid := range tids {
		b, err := readWhole(pid, taskPath(tid, "children"), maxMaps)
		if err != nil {
			continue // it ended, or the kernel has no such file
		}
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids, nil
}

// Wchan returns the kernel function in which the thread sleeps; empty when it
// runs, or when the kernel hides it from this reader.
func Wchan(pid, tid int) (string, error) {
	b, err := readWhole(pid, taskPath(tid, "wchan"), maxSmall)
	if err != nil || string(b) == "0" {
		return "", err
	}
	return string(b), nil
}

// Syscall is what a thread is doing at the border of the kernel.
type Syscall struct {
	Running bool  // on a CPU or about to be: nothing else is known
	Nr      int64 // number of the system call it waits in; -1 when it was interrupted in user mode
	Args    [6]uint64
	SP, PC  uint64
}

// ParseSyscall parses the content of /proc/PID/task/TID/syscall: "running",
// "-1 SP PC" or "NR ARG×6 SP PC". The error is a *SyntaxError.
func ParseSyscall(b []byte) (Syscall, error) {
	bad := func(detail string) (Syscall, error) { return Syscall{}, &SyntaxError{"syscall", 1, detail} }
	f := strings.Fields(string(b))
	if len(f) == 1 && f[0] == "running" {
		return Syscall{Running: true}, nil
	}
	if len(f) != 3 && len(f) != 9 {
		return bad(strconv.Itoa(len(f)) + " fields")
	}
	var s Syscall
	var err error
	if s.Nr, err = strconv.ParseInt(f[0], 10, 64); err != nil {
		return bad("bad number of a system call")
	}
	var words [8]uint64
	for i, w := range f[1:] {
		if words[i], err = strconv.ParseUint(w, 0, 64); err != nil {
			return bad("bad word " + strconv.Itoa(i+1))
		}
	}
	n := len(f) - 3
	copy(s.Args[:], words[:n])
	s.SP, s.PC = words[n], words[n+1]
	return s, nil
}

// ReadSyscall reads what the thread is doing, without stopping it. It needs
// the right to attach to the target (Yama's ptrace_scope included).
func ReadSyscall(pid, tid int) (Syscall, error) {
	name := taskPath(tid, "syscall")
	b, err := readWhole(pid, name, maxSmall)
	if err != nil {
		return Syscall{}, err
	}
	s, err := ParseSyscall(b)
	if err != nil {
		return Syscall{}, wrap(pid, name, err)
	}
	return s, nil
}
