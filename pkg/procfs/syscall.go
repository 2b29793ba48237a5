package procfs

import (
	"strconv"
	"strings"
)

// SyscallName gives the name of a system call of this machine's architecture,
// or its number in digits where that is not known.
func SyscallName(nr int64) string {
	next := int64(0)
	for rest := syscallNames; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		if word[0] <= '9' {
			next, _ = strconv.ParseInt(word, 10, 64)
			continue
		}
		if next == nr {
			return word
		}
		next++
	}
	return strconv.FormatInt(nr, 10)
}

// Word is what a thread does, in one word: the name of the system call it waits
// in, "running", or "none" when it waits for something else: a page, a tracer. On a
// machine of 64 bits, of a program of 32 it is the number, which counts by another
// table; what tells is that its stack lies below 4 GiB.
func (s Syscall) Word() string {
	switch {
	case s.Running:
		return "running"
	case s.Nr < 0:
		return "none"
	case strconv.IntSize == 64 && s.SP>>32 == 0:
		return strconv.FormatInt(s.Nr, 10)
	}
	return SyscallName(s.Nr)
}
