package procfs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tracer gives the pid of the process that traces some thread of pid, or 0. It
// looks at every thread: a tracer may have attached to one that is not the
// first. One outside of the reader's pid namespace looks like none.
func Tracer(pid int) (int, error) {
	d, err := os.Open(path(pid, "task"))
	if err != nil {
		return 0, wrap(pid, "task", err)
	}
	defer d.Close()
	// Not Tasks: what reads directories for os weighs more than the rest of a
	// small program that wants nothing but this.
	for buf := make([]byte, 8<<10); ; {
		n, err := unix.ReadDirent(int(d.Fd()), buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, wrap(pid, "task", err)
		}
		if n == 0 {
			return 0, nil
		}
		_, _, tids := unix.ParseDirent(buf[:n], -1, nil)
		for _, tid := range tids {
			b, err := readWhole(pid, "task/"+tid+"/status", maxSmall)
			if err != nil {
				continue // it has just ended
			}
			if who := tracerOf(b); who != 0 {
				return who, nil
			}
		}
	}
}

// tracerOf finds the tracer in the content of a status file. The name, which a
// process chooses, stands in the first line and has its line feeds escaped.
func tracerOf(status []byte) int {
	_, rest, _ := strings.Cut(string(status), "\nTracerPid:")
	line, _, _ := strings.Cut(rest, "\n")
	who, _ := strconv.Atoi(strings.TrimSpace(line))
	return who
}
