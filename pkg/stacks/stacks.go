// Package stacks tells the stacks of all threads of a process, at one moment:
// of one that lives and of one that left a core.
//
// A live process stands for as long as it takes to copy its registers and the
// used part of its stacks; the unwinding is done on the copies.
package stacks

import (
	"time"

	"vigil/pkg/unwind"
)

// DefaultLimit is how many frames of a thread are told where the caller does
// not say.
const DefaultLimit = 256

// Process is one process at one moment.
type Process struct {
	PID  int
	Comm string
	Exe  string
	Core string // path of the core that this is from; "" of a live process

	Time  time.Time     // of the stop; zero of a core
	Pause time.Duration // of the live process

	Threads []Thread
}

// Thread is one thread.
type Thread struct {
	TID    int
	Comm   string // "" in a core, which does not hold it
	Signal int    // that it was about to get; of a core, that it died of
	State  byte   // of proc(5), of one that could not be stopped; else 0
	unwind.Stack
}
