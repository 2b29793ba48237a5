package explain

import (
	"cmp"
	"strconv"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/control"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// Schema names the format of a dump. Members are called as OpenTelemetry and
// the Elastic Common Schema call them, where they have a name for it.
const Schema = "vigil.dump/1"

// redacted are the members that are left out on purpose: they hold secrets.
var redacted = []string{"process.command_args", "process.environment_variables"}

// Extent says how much a dump tells.
type Extent struct {
	Light   bool // no threads, descriptors and mappings
	Smaps   bool // how much memory is shared, which takes 10 ms per GiB
	Threads int  // at most so many; 0 for 256
}

// parseExtent reads level=, threads= and smaps=; "" is the default.
func parseExtent(level, threads, smaps string) (x Extent, err error) {
	switch level {
	case "light":
		x.Light = true
	case "", "full":
	default:
		return x, fmt.Errorf("level %s: want light or full", level)
	}
	if threads != "" {
		if x.Threads, err = strconv.Atoi(threads); err != nil || x.Threads < 1 || x.Threads > threadsLimit {
			return x, fmt.Errorf("threads %s: want 1 to %d", threads, threadsLimit)
		}
	}
	switch smaps {
	case "yes":
		x.Smaps = true
	case "":
	default:
		return x, fmt.Errorf("smaps %s: want yes", smaps)
	}
	return x, nil
}

// Dump describes the target as one JSON object with a line feed. It reads what
// the caller may read; of the rest the members are null and errors says why. The
// process is not stopped. A process that ends meanwhile is described as far as
// it was seen, but never mixed with another one of the same pid: that is a
// *control.Refusal with Gone, as is that there is none. When done is closed, it
// says truncated.
func (p *Process) Dump(done <-chan struct{}, x Extent) (text []byte, pid int, err error) {
	_, err = p.look(func(st procfs.Stat, _ *control.Reply) error {
		pid = st.PID
		text = describe(done, p.ID, st, x, time.Now())
		return nil
	})
	return text, pid, err
}

func describe(done <-chan struct{}, id string, st procfs.Stat, x Extent, now time.Time) []byte {
	d := &dumper{done: done, pid: st.PID}
	boot, err := boottime.ID()
	d.fault("boot_id", err)
	w := &d.w
	w.Object("")
	w.Str("schema", Schema)
	w.Str("level", x.level())
	w.Time("time", now.UnixMilli())
	w.Int("bt_ms", boottime.Now().Milliseconds())
	d.str("boot", boot, err)
	w.Str("id", id)
	d.identity(st, boot, now)
	d.memory(st, x)
	d.usage(st)
	d.limits()
	w.Int("process.thread.count", int64(st.Threads))
	truncated := false
	if !x.Light {
		truncated = d.threads(cmp.Or(x.Threads, threadsMax))
		truncated = d.files() || truncated
		truncated = d.mappings() || truncated
	} else {
		n, err := countFiles(d.pid)
		d.fault("fd", err)
		d.num("process.unix.file_descriptor.count", int64(n), err)
	}
	w.Bool("truncated", truncated)
	w.Array("redacted")
	for _, name := range redacted {
		w.Str("", name)
	}
	w.End()
	w.Array("errors")
	for _, f := range d.faults {
		f.append(w)
	}
	w.End()
	w.End()
	return append(w.Bytes(), '\n')
}

func (x Extent) level() string {
	if x.Light {
		return "light"
	}
	return "full"
}

func (p *Process) dump(c control.Call) (control.Reply, error) {
	var r control.Reply
	x, err := parseExtent(c.Get("level"), c.Get("threads"), c.Get("smaps"))
	if err != nil {
		return r, control.Refuse(control.Usage, "%v", err)
	}
	text, pid, err := p.Dump(c.Done, x)
	if err != nil {
		return r, err
	}
	r.Add("pid", pid)
	r.Data, r.Save = text, control.DumpName
	if p.Spool == nil {
		return r, nil
	}
	name, err := p.Spool.Keep(p.ID, pid, time.Now(), text)
	if name != "" {
		r.Add("kept", name)
	}
	if err != nil {
		// The answer itself is worth more than the copy that could not be kept.
		r.Add("not_kept", err)
	}
	return r, nil
}
