package diag

import (
	"bytes"
	"fmt"
	"io"
	"runtime/debug"

	"vigil/pkg/control"
)

// A Verb is one word that the program understands: its Name, Help in half a
// sentence, the Keys that it takes, and Run, which answers. With Admin it is
// served by ctl.admin only, as everything should be that changes something or
// tells secrets.
//
// Run is called in a goroutine of its own, never twice at once, and given up
// after Limit (10 s if 0): then somebody else may be told that it is busy, until
// it returns. An error made by Usagef is told to the client as its mistake, any
// other one as a fault of the system.
type Verb = control.Verb

// A Key is one key=value that a Verb takes: its Name ([a-z][a-z0-9_-]*, at most 32
// bytes), a Hint at the value for help, and whether it is Required.
type Key = control.Key

// A Call is what Run gets to know: Get gives the value of a key, "" without
// one; Done is closed when nobody waits for the answer any more.
type Call = control.Call

// A Reply is what Run answers: Add puts a pair into its one line, Data follows
// that.
type Reply = control.Reply

// Usagef makes the error with which a Verb refuses a value.
func Usagef(format string, a ...any) error {
	return control.Refuse(control.Usage, "%s", fmt.Sprintf(format, a...))
}

// textLimit bounds what is gathered for one answer.
const textLimit = 1 << 20

// Text makes a verb that answers with what write writes, of which a mebibyte is
// told at most: the configuration, counters, a table. Set Admin on the Verb if
// not everybody may know it.
func Text(name, help string, write func(w io.Writer) error) Verb {
	return Verb{Name: name, Help: help, Run: func(c Call) (Reply, error) {
		var r Reply
		b := capped{limit: textLimit}
		if err := write(&b); err != nil {
			return r, err
		}
		b.give(&r)
		return r, nil
	}}
}

// guarded is a verb of the program's own: whatever it does, the program and the
// serving go on.
func guarded(v Verb) Verb {
	run := v.Run
	if run == nil {
		return v // which is refused
	}
	v.Slow = true
	v.Run = func(c Call) (r Reply, err error) {
		defer func() {
			if p := recover(); p != nil {
				r, err = Reply{}, fmt.Errorf("%s: panic: %v at %s", v.Name, p, culprit(debug.Stack()))
			}
		}()
		return run(c)
	}
	return v
}

// culprit finds the place of a panic in its stack: the line behind the frame of
// panic itself.
func culprit(stack []byte) string {
	_, below, ok := bytes.Cut(stack, []byte("\npanic("))
	lines := bytes.SplitN(below, []byte("\n"), 5)
	if !ok || len(lines) < 4 {
		return "an unknown place"
	}
	place, _, _ := bytes.Cut(bytes.TrimSpace(lines[3]), []byte(" +0x"))
	return string(place)
}

// capped keeps what is written to it up to a limit, and drops the rest.
type capped struct {
	bytes.Buffer
	limit   int
	dropped bool
}

func (c *capped) Write(p []byte) (int, error) {
	keep := min(len(p), c.limit-c.Len())
	c.dropped = c.dropped || keep < len(p)
	c.Buffer.Write(p[:keep])
	return len(p), nil
}

// WriteString is Write; that of the Buffer knows no limit.
func (c *capped) WriteString(s string) (int, error) { return c.Write([]byte(s)) }

func (c *capped) give(r *Reply) {
	r.Data = c.Bytes()
	if c.dropped {
		r.Add("truncated", "yes")
	}
}
