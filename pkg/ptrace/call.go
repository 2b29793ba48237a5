package ptrace

import (
	"bytes"
	"errors"
	"io"

	"vigil/pkg/fmt"
)

// ErrCall is wrapped by the error of a system call that could not be made in
// the target. The target is as it was.
var ErrCall = errors.New("no system call can be made in it")

// Site is where in a process a system call can be made.
type Site struct {
	plain uint64 // a system call instruction

	// With these two, what comes behind the call brings the thread back to where
	// it was even if the tracer is killed in the middle (see guard). 0: not found.
	returning uint64 // a system call instruction and a return
	restore   uint64 // the return of a signal handler
}

// Range is a part of an address space that holds code.
type Range struct{ Start, End uint64 }

const (
	maxVDSO = 1 << 20  // of a mapping that claims to be the vdso
	maxText = 64 << 20 // of all code
	chunk   = 1 << 20
)

// FindSite looks for a system call instruction in the vdso, and in other code
// for what makes a call there safe. errors.Is(err, ErrCall) when there is none, or
// this machine has no proven way to use it.
func FindSite(mem io.ReaderAt, vdso Range, text []Range) (s Site, err error) {
	if len(callInstruction) == 0 {
		return s, fmt.Errorf("calls in another process are not proven on this kind of machine: %w", ErrCall)
	}
	b := make([]byte, max(chunk, maxVDSO))
	n, err := mem.ReadAt(b[:min(vdso.End-vdso.Start, maxVDSO)], int64(vdso.Start))
	if err != nil {
		return s, fmt.Errorf("vdso: %w", err)
	}
	i := bytes.Index(b[:n], callInstruction)
	if i < 0 {
		return s, fmt.Errorf("vdso: no system call instruction: %w", ErrCall)
	}
	s.plain = vdso.Start + uint64(i)
	left := uint64(maxText)
	for _, r := range text {
		for at := r.Start; at < r.End && left > 0 && (s.returning == 0 || s.restore == 0); {
			n, _ := mem.ReadAt(b[:min(r.End-at, chunk)], int64(at))
			if i := bytes.Index(b[:n], callReturn); i >= 0 && s.returning == 0 {
				s.returning = at + uint64(i)
			}
			if i := bytes.Index(b[:n], handlerReturn); i >= 0 && s.restore == 0 {
				s.restore = at + uint64(i)
			}
			at += chunk - 16 // what lies across the border is seen by the next
			left -= min(left, chunk)
		}
	}
	return s, nil
}
