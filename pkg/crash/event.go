// Package crash saves what the kernel hands over when a process dies of a signal
// that makes a core (core(5), core_pattern with a pipe).
//
// The first part of the core, headers and notes, comes through the pipe. The
// memory is then read from the process itself, which the kernel keeps while the
// pipe is open: only pages that exist, so that a process with much reserved and
// little used is saved in no time. Whether it is that process is asked of a
// pidfd that the kernel passes, or else of what the kernel and the core say of
// it; in doubt, and where /proc cannot be had, all comes through the pipe.
//
// Nothing here parses what the process could have written, memory above all:
// bytes are copied. The headers and notes are the kernel's.
package crash

import (
	"errors"
	"strconv"
	"time"

	"vigil/pkg/fmt"
)

// Pattern is what stands behind the program in core_pattern. %F is a pidfd, from
// Linux 6.16 on; an older kernel leaves it away.
const Pattern = "handler %P %i %s %d %u %g %t %F"

// Event is one crash as the kernel announces it, in the words of core(5).
type Event struct {
	PID      int // %P: in the first pid namespace
	TID      int // %i: of the thread that got the signal, in its own pid namespace
	Signal   int // %s
	Dumpable int // %d: 1, or 2 for a process whose user must not see its core (PR_GET_DUMPABLE)
	UID, GID int // %u, %g: real, in the first user namespace
	Time     time.Time
	PIDFD    int // %F: the descriptor; -1 without
}

// ParseEvent reads the arguments that Pattern makes.
func ParseEvent(args []string) (Event, error) {
	var n [8]int64
	names := [...]string{"%P", "%i", "%s", "%d", "%u", "%g", "%t", "%F"}
	if len(args) != 7 && len(args) != 8 {
		return Event{}, fmt.Errorf("%d arguments: want those of core_pattern: %s", len(args), Pattern)
	}
	n[7] = -1
	for i, arg := range args {
		v, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || v < 0 || i != 6 && v > 1<<32-1 {
			return Event{}, fmt.Errorf("argument %s: %q: not a number that the kernel gives", names[i], arg)
		}
		n[i] = v
	}
	e := Event{
		PID: int(n[0]), TID: int(n[1]), Signal: int(n[2]), Dumpable: int(n[3]), UID: int(n[4]), GID: int(n[5]),
		Time: time.Unix(n[6], 0), PIDFD: int(n[7]),
	}
	if e.PID == 0 || e.PID > 1<<22 {
		return Event{}, errors.New("argument %P: not the number of a process")
	}
	return e, nil
}

// Private says that the process's own user must not see its core: it changed its
// uid, or its program may not be read (suid_dumpable in proc_sys_fs(5)).
func (e *Event) Private() bool { return e.Dumpable != 1 }
