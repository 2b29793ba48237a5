package watchdog

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// capLock is CAP_IPC_LOCK (capabilities(7)).
const capLock = 14

// lockMemory keeps the program in memory: what is evicted under pressure, and has
// to be read from a disk that is busy, comes too late. With ONFAULT Go's reserved
// address space costs nothing; the program's own segments are read in at once.
// Where the rights do not suffice for all, those segments alone are locked, which
// is within the usual limit. It gives what is locked: "all", "program", or
// "nothing" and why.
func lockMemory() (what string, err error) {
	what = "program"
	// Under a finite limit, memory that is asked for later would be refused, and
	// Go's runtime ends the program then.
	if mayLockAll() && unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) == nil {
		what = "all"
	}
	maps, err := readWhole("/proc/self/maps")
	if err != nil {
		return what, err
	}
	for _, m := range ownSegments(maps) {
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, m.from, m.to-m.from, 0); errno != 0 {
			return "nothing", errno
		}
	}
	return what, nil
}

func mayLockAll() bool {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&head, &data[0]) == nil && data[0].Effective&(1<<capLock) != 0
}

// A segment is a part of the address space.
type segment struct{ from, to uintptr }

// ownSegments gives the mappings of files out of the text of /proc/self/maps: a
// static program has none but its own.
func ownSegments(maps []byte) (own []segment) {
	for line := range bytes.Lines(maps) {
		field := bytes.Fields(line)
		if len(field) < 6 || field[5][0] != '/' {
			continue
		}
		a, b, _ := strings.Cut(string(field[0]), "-")
		from, err := strconv.ParseUint(a, 16, strconv.IntSize)
		to, err2 := strconv.ParseUint(b, 16, strconv.IntSize)
		if err == nil && err2 == nil && from < to {
			own = append(own, segment{uintptr(from), uintptr(to)})
		}
	}
	return own
}

func readWhole(name string) (text []byte, err error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for b := make([]byte, 4096); ; {
		n, err := unix.Read(fd, b)
		if err != nil || n == 0 {
			return text, err
		}
		text = append(text, b[:n]...)
	}
}

// spare asks the kernel to end others first when memory runs out. Without the
// right to do so nothing changes.
func spare() error {
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("-1000"))
	return err
}

// realTime puts all threads of this process under SCHED_FIFO with a priority of 1 to
// 99; a new thread inherits it from the one that makes it. The pinging thread
// alone would wait for the others, which have to give it a processor of Go's.
func realTime(priority int) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(priority)}
	for done := map[string]bool{}; ; {
		again := false
		for _, name := range list("/proc/self/task") {
			tid, err := strconv.Atoi(name)
			if err != nil || done[name] {
				continue
			}
			done[name], again = true, true
			if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && err != unix.ESRCH {
				return fmt.Errorf("-rt %d: set the scheduling of a thread: %w", priority, err)
			}
		}
		if !again {
			return nil
		}
	}
}
