package fifo

import "bytes"

// MaxLine is the longest line, its line feed included: PIPE_BUF of Linux, up to
// which a write(2) into a FIFO is not mixed with that of another process
// (pipe(7)).
const MaxLine = 4096

// Fault is what was wrong with a line that is not handed on.
type Fault uint8

// The faults.
const (
	Sound    Fault = iota
	Oversize       // longer than MaxLine: dropped up to its line feed
	Partial        // its writer fell silent before the line feed
)

// Framer cuts a stream of bytes into lines. It keeps at most MaxLine bytes. The
// zero value is ready.
type Framer struct {
	part []byte // of a line that has no line feed yet
	skip bool   // within an oversize line that has been reported
}

// Feed takes the next bytes and emits what is complete: lines without their
// line feed, valid until emit returns. Empty lines are left out: a client sends
// a line feed first, to end what a stranger may have begun.
func (f *Framer) Feed(b []byte, emit func(line []byte, fault Fault)) {
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		switch {
		case f.skip:
		case len(f.part)+len(line) >= MaxLine:
			emit(nil, Oversize)
			f.part = f.part[:0]
			f.skip = true
		case !whole:
			f.part = append(f.part, line...)
		case len(f.part) > 0:
			emit(append(f.part, line...), Sound)
		case len(line) > 0:
			emit(line, Sound)
		}
		if whole {
			f.part, f.skip = f.part[:0], false
		}
		b = rest
	}
}

// Pending says that a line has begun and not ended.
func (f *Framer) Pending() bool { return len(f.part) > 0 || f.skip }

// Drop forgets the line that has begun: whoever wrote it has fallen silent, and
// the next line must not be glued to it.
func (f *Framer) Drop(emit func(line []byte, fault Fault)) {
	if len(f.part) > 0 {
		emit(nil, Partial)
	}
	f.part, f.skip = f.part[:0], false
}
