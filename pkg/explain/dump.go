package explain

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/jsonline"
	"vigil/pkg/procfs"
)

// Schema names the format of a dump. Members are called as OpenTelemetry and
// the Elastic Common Schema call them, where they have a name for it.
const Schema = "vigil.dump/1"

// redacted are the members that are left out on purpose: they hold secrets.
var redacted = []string{"process.command_args", "process.environment_variables"}

// Dump describes the process of st as one JSON object with a line feed. It
// reads what the caller may read; of the rest the members are null and errors
// says why. The process is not stopped. A process that ends meanwhile is
// described as far as it was seen, but never mixed with another one of the same
// pid: that is a *control.Refusal with Gone. When done is closed, it says
// truncated.
func Dump(done <-chan struct{}, id string, st procfs.Stat, now time.Time) ([]byte, error) {
	d := &dumper{done: done, pid: st.PID}
	boot, err := boottime.ID()
	d.fault("boot_id", err)
	w := &d.w
	w.Object("")
	w.Str("schema", Schema)
	w.Time("time", now.UnixMilli())
	w.Int("bt_ms", boottime.Now().Milliseconds())
	d.str("boot", boot, err)
	w.Str("id", id)
	d.identity(st, boot, now)
	d.memory()
	d.files()
	d.threads(st)
	w.Array("redacted")
	for _, name := range redacted {
		w.Str("", name)
	}
	w.End()
	after, err := procfs.ReadStat(st.PID)
	d.fault("stat", err)
	if err == nil && !same(st, after) {
		return nil, control.Refuse(control.Gone, "pid %d: another process has the number now", st.PID)
	}
	w.Array("errors")
	for _, f := range d.faults {
		f.append(w)
	}
	w.End()
	w.End()
	return append(w.Bytes(), '\n'), nil
}

// dumper writes a dump while it reads.
type dumper struct {
	done   <-chan struct{}
	pid    int
	w      jsonline.Writer
	faults []fault
}

// fault is what could not be read, and why; of many alike one with their count.
type fault struct {
	object string
	errno  syscall.Errno // 0 when the system gave none
	text   string
	count  int
}

func (f fault) append(w *jsonline.Writer) {
	w.Object("")
	w.Str("object", f.object)
	if f.errno != 0 {
		w.Int("errno", int64(f.errno))
	} else {
		w.Null("errno")
	}
	w.Str("text", cli.Escape(f.text))
	w.Int("count", int64(f.count))
	w.End()
}

// fault notes that object could not be read; nil is no fault.
func (d *dumper) fault(object string, err error) {
	if err == nil {
		return
	}
	f := fault{object: object, count: 1}
	switch {
	case errors.As(err, &f.errno):
	case errors.Is(err, fs.ErrNotExist):
		f.errno = syscall.ESRCH
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.errno = syscall.ETIMEDOUT
	}
	if f.text = err.Error(); f.errno != 0 {
		f.text = f.errno.Error()
	}
	for i := range d.faults {
		if g := &d.faults[i]; g.object == f.object && g.text == f.text {
			g.count++
			return
		}
	}
	d.faults = append(d.faults, f)
}

func (d *dumper) str(key, value string, err error) {
	if err != nil || value == "" {
		d.w.Null(key)
		return
	}
	d.w.Str(key, cli.Escape(value))
}

func (d *dumper) num(key string, value int64, err error) {
	if err != nil {
		d.w.Null(key)
		return
	}
	d.w.Int(key, value)
}

func (d *dumper) identity(st procfs.Stat, boot string, now time.Time) {
	w := &d.w
	w.Int("process.pid", int64(st.PID))
	w.Str("process.entity_id", entityID(boot, st))
	w.Int("process.parent_pid", int64(st.PPID))
	w.Int("process.group_leader.pid", int64(st.PGRP))
	w.Int("process.session_leader.pid", int64(st.Session))
	w.Str("process.name", cli.Escape(st.Comm))
	w.Str("process.state", stateWord(st.State))
	w.Bool("process.kernel_thread", st.Kernel())
	exe, err := procfs.Exe(d.pid)
	d.fault("exe", err)
	d.str("process.executable.path", exe, err)
	if exe != "" {
		exe = path.Base(exe)
	}
	d.str("process.executable.name", exe, err)
	args, err := procfs.Cmdline(d.pid)
	d.fault("cmdline", err)
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	d.str("process.command", command, err)
	d.num("process.args_count", int64(len(args)), err)
	w.Time("process.creation.time", now.UnixMilli()-age(st))
	w.Int("process.uptime_ms", age(st))
	w.Int("process.cpu.user_ms", ticksMS(st.UTime))
	w.Int("process.cpu.system_ms", ticksMS(st.STime))
	w.Int("process.priority", int64(st.Priority))
	w.Int("process.nice", int64(st.Nice))
}

// entityID names a process for good, on one host: nobody else had this pid at
// this time since this boot.
func entityID(boot string, st procfs.Stat) string {
	h := fnv.New128a()
	fmt.Fprintf(h, "%s %d %d", boot, st.PID, st.StartTime)
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (d *dumper) memory() {
	s, err := procfs.ReadStatus(d.pid)
	d.fault("status", err)
	for _, m := range []struct {
		key   string
		value int64
	}{
		{"process.user.id", int64(s.UID[1])}, {"process.real_user.id", int64(s.UID[0])}, {"process.saved_user.id", int64(s.UID[2])},
		{"process.group.id", int64(s.GID[1])}, {"process.real_group.id", int64(s.GID[0])}, {"process.saved_group.id", int64(s.GID[2])},
		{"process.tracer.pid", int64(s.TracerPID)}, {"process.seccomp", int64(s.Seccomp)},
		{"process.memory.usage", int64(s.VMRSS)}, {"process.memory.usage_max", int64(s.VMHWM)}, {"process.memory.anonymous", int64(s.RSSAnon)},
		{"process.memory.swap", int64(s.VMSwap)}, {"process.memory.virtual", int64(s.VMSize)},
		{"process.context_switches.voluntary", int64(s.VolCtxt)}, {"process.context_switches.involuntary", int64(s.NonvolCtxt)},
	} {
		d.num(m.key, m.value, err)
	}
	for _, m := range []struct {
		key  string
		mask uint64
	}{
		{"process.signals.pending", s.SigPnd | s.ShdPnd}, {"process.signals.blocked", s.SigBlk},
		{"process.signals.ignored", s.SigIgn}, {"process.signals.caught", s.SigCgt},
	} {
		d.str(m.key, fmt.Sprintf("%016x", m.mask), err)
	}
}

func (d *dumper) files() {
	n, err := countFDs(d.pid)
	d.fault("fd", err)
	d.num("process.unix.file_descriptor.count", int64(n), err)
	limits, err := readLimits(d.pid)
	d.fault("limits", err)
	if err != nil {
		d.w.Null("process.limits")
		return
	}
	d.w.Object("process.limits")
	for _, l := range limits {
		d.w.Object(l.name)
		for _, m := range []struct {
			key   string
			value int64
		}{{"soft", l.soft}, {"hard", l.hard}} {
			if m.value < 0 {
				d.w.Str(m.key, "unlimited")
			} else {
				d.w.Int(m.key, m.value)
			}
		}
		d.w.End()
	}
	d.w.End()
}

func (d *dumper) threads(st procfs.Stat) {
	d.w.Array("threads")
	total, visited, err := eachThread(d.done, d.pid, d.thread)
	d.w.End()
	d.fault("task", err)
	if err != nil {
		total = st.Threads
	}
	d.w.Int("process.thread.count", int64(total))
	d.w.Bool("truncated", visited < total)
}

func (d *dumper) thread(t thread) {
	d.fault("threads[].stat", t.errStat)
	d.fault("threads[].wchan", t.errW)
	d.fault("threads[].syscall", t.errSC)
	w := &d.w
	w.Object("")
	w.Int("tid", int64(t.tid))
	d.str("name", t.stat.Comm, t.errStat)
	state := ""
	if t.errStat == nil {
		state = stateWord(t.stat.State)
	}
	d.str("state", state, t.errStat)
	d.num("cpu.user_ms", ticksMS(t.stat.UTime), t.errStat)
	d.num("cpu.system_ms", ticksMS(t.stat.STime), t.errStat)
	d.str("wchan", t.wchan, errors.Join(t.errStat, t.errW))
	switch {
	case t.errStat != nil || t.errSC != nil:
		w.Null("syscall")
	case t.call.Running, t.call.Nr < 0:
		w.Str("syscall", callWord(t.call))
	default:
		w.Int("syscall", t.call.Nr)
	}
	w.End()
}
