package stacks

import (
	"io"
	"strconv"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/unwind"
)

// Schema names the form of the JSON lines.
const Schema = "vigil.stacks/1"

// reasons words the ends of a stack that is not complete.
var reasons = map[unwind.End]string{
	unwind.Limit:     "more frames than were asked for",
	unwind.NoMemory:  "the stack behind this was not captured",
	unwind.NoRule:    "nothing tells who called this",
	unwind.Switch:    "its caller is on another stack",
	unwind.NoProcess: "the thread could not be stopped",
}

// Text writes the stacks for people: for each thread a line and one for each
// frame, as eu-stack(1) does it, and a line for what is missing.
func (p *Process) Text(w io.Writer) error {
	b := fmt.Appendf(nil, "PID %d - %s, threads: %d", p.PID, plain(p.Comm), len(p.Threads))
	if p.Core != "" {
		b = fmt.Appendf(b, ", core %s\n", plain(p.Core))
	} else {
		b = fmt.Appendf(b, ", stopped for %d us\n", p.Pause.Microseconds())
	}
	for _, t := range p.Threads {
		b = t.text(b)
		if len(b) > 1<<16 {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, err := w.Write(b)
	return err
}

func (t *Thread) text(b []byte) []byte {
	b = fmt.Appendf(b, "TID %d", t.TID)
	if t.Comm != "" {
		b = fmt.Appendf(b, " %s", plain(t.Comm))
	}
	if t.Signal != 0 {
		b = fmt.Appendf(b, ", signal %d", t.Signal)
	}
	b = append(b, ":\n"...)
	for i, f := range t.Frames {
		b = fmt.Appendf(b, "#%-3d 0x%016x", i, f.PC)
		if f.Func != "" {
			b = fmt.Appendf(b, " %s+0x%x", plain(f.Func), f.Offset-f.Start)
		} else {
			b = append(b, " ?"...)
		}
		if f.Module != nil {
			b = fmt.Appendf(b, " (%s)", plain(f.Module.Name))
		}
		b = append(b, '\n')
	}
	if why := reasons[t.End]; why != "" {
		b = fmt.Appendf(b, "     ... %s", why)
		if t.State != 0 {
			b = fmt.Appendf(b, " (state %s)", string(rune(t.State)))
		}
		b = append(b, '\n')
	}
	return b
}

// plain makes text from outside fit for a terminal.
func plain(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			q := strconv.QuoteToASCII(s)
			return q[1 : len(q)-1]
		}
	}
	return s
}

// JSON writes the stacks as JSON lines: one that describes the process, then one
// for each thread. The names are those of OpenTelemetry where it has some.
func (p *Process) JSON(w io.Writer) error {
	var j jsonline.Writer
	j.Object("")
	j.Str("schema", Schema)
	j.Int("process.pid", int64(p.PID))
	j.Str("process.command", p.Comm)
	if p.Exe != "" {
		j.Str("process.executable.path", p.Exe)
	}
	if p.Core != "" {
		j.Str("core", p.Core)
	} else {
		j.Time("time", p.Time.UnixMilli())
		j.Int("pause_us", p.Pause.Microseconds())
	}
	j.Int("threads", int64(len(p.Threads)))
	j.End()
	if _, err := w.Write(append(j.Bytes(), '\n')); err != nil {
		return err
	}
	for _, t := range p.Threads {
		j.Reset()
		t.json(&j)
		if _, err := w.Write(append(j.Bytes(), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (t *Thread) json(j *jsonline.Writer) {
	j.Object("")
	j.Int("thread.id", int64(t.TID))
	if t.Comm != "" {
		j.Str("thread.name", t.Comm)
	}
	if t.Signal != 0 {
		j.Int("signal", int64(t.Signal))
	}
	if t.State != 0 {
		j.Str("state", string(rune(t.State)))
	}
	j.Str("end", string(t.End))
	j.Array("frames")
	for _, f := range t.Frames {
		j.Object("")
		j.Str("address", "0x"+strconv.FormatUint(f.PC, 16))
		if f.Func != "" {
			j.Str("code.function.name", f.Func)
			j.Uint("code.function.offset", f.Offset-f.Start)
		}
		if m := f.Module; m != nil {
			j.Str("mapping.filename", m.Name)
			if len(m.BuildID) > 0 {
				j.Str("mapping.build_id", fmt.Sprintf("%x", m.BuildID))
			}
			j.Str("mapping.address", "0x"+strconv.FormatUint(f.Offset, 16))
		}
		j.End()
	}
	j.End()
	j.End()
}
