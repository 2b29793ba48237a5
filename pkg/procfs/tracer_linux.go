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
func tracerOf(status []byte) int { return numberOf(status, "TracerPid") }

// numberOf finds a line of a status file that has one number; 0 if it is not there.
func numberOf(status []byte, name string) int {
	_, rest, _ := strings.Cut(string(status), "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(strings.TrimSpace(line))
	return n
}

// Debugger is Tracer, but for a parent that runs its child under "corecap run": it
// is there for a crash and does not make a service stand still, as a debugger
// does. Whoever wants to pass for it gains nothing but not to be noticed.
func Debugger(pid int) (int, error) {
	who, err := Tracer(pid)
	if err != nil || who == 0 {
		return 0, err
	}
	tracer, err := readWhole(who, "status", maxSmall)
	if err != nil {
		return who, nil
	}
	target, err := readWhole(pid, "status", maxSmall)
	if err != nil || numberOf(target, "PPid") != numberOf(tracer, "Tgid") {
		return who, nil
	}
	args, _, err := read(who, "cmdline", maxSmall)
	if err == nil && runs(args) {
		return 0, nil
	}
	return who, nil
}

// runs says whether a command line is that of corecap run.
func runs(args []byte) bool {
	program, rest, _ := strings.Cut(string(args), "\x00")
	word, _, _ := strings.Cut(rest, "\x00")
	return word == "run" && program[strings.LastIndexByte(program, '/')+1:] == "corecap"
}
