package explain

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/procfs"
)

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
	cwd, err := procfs.WorkingDirectory(d.pid)
	d.fault("cwd", err)
	d.str("process.working_directory", cwd, err)
	group, err := procfs.Cgroup(d.pid)
	d.fault("cgroup", err)
	d.str("process.linux.cgroup", group, err)
	w.Time("process.creation.time", now.UnixMilli()-age(st))
	w.Int("process.uptime_ms", age(st))
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

func (d *dumper) memory(st procfs.Stat, x Extent) {
	s, err := procfs.ReadStatus(d.pid)
	d.fault("status", err)
	inner := int64(st.PID)
	if len(s.NSPID) > 0 {
		inner = int64(s.NSPID[len(s.NSPID)-1])
	}
	for _, m := range []struct {
		key   string
		value int64
	}{
		{"process.vpid", inner},
		{"process.user.id", int64(s.UID[1])}, {"process.real_user.id", int64(s.UID[0])}, {"process.saved_user.id", int64(s.UID[2])},
		{"process.group.id", int64(s.GID[1])}, {"process.real_group.id", int64(s.GID[0])}, {"process.saved_group.id", int64(s.GID[2])},
		{"process.tracer.pid", int64(s.TracerPID)}, {"process.seccomp", int64(s.Seccomp)},
		{"process.memory.usage", int64(s.VMRSS)}, {"process.memory.usage_max", int64(s.VMHWM)}, {"process.memory.anonymous", int64(s.RSSAnon)},
		{"process.memory.swap", int64(s.VMSwap)}, {"process.memory.virtual", int64(s.VMSize)},
		{"process.context_switches.voluntary", int64(s.VolCtxt)}, {"process.context_switches.involuntary", int64(s.NonvolCtxt)},
	} {
		d.num(m.key, m.value, err)
	}
	d.bit("process.no_new_privs", s.NoNewPrivs, err)
	for _, m := range []struct {
		key  string
		mask uint64
	}{
		{"process.signals.pending", s.SigPnd | s.ShdPnd}, {"process.signals.blocked", s.SigBlk},
		{"process.signals.ignored", s.SigIgn}, {"process.signals.caught", s.SigCgt}, {"process.capabilities.effective", s.CapEff},
	} {
		d.str(m.key, fmt.Sprintf("%016x", m.mask), err)
	}
	if x.Smaps {
		u, err := procfs.ReadRollup(d.pid)
		d.fault("smaps_rollup", err)
		d.num("process.memory.proportional", int64(u.PSS), err)
		d.num("process.memory.private_dirty", int64(u.PrivateDirty), err)
	}
}

// usage is what the process has used since its start.
func (d *dumper) usage(st procfs.Stat) {
	w := &d.w
	w.Int("process.cpu.user_ms", ticksMS(st.UTime))
	w.Int("process.cpu.system_ms", ticksMS(st.STime))
	w.Int("process.paging.faults.minor", int64(st.MinFlt))
	w.Int("process.paging.faults.major", int64(st.MajFlt))
	io, err := procfs.ReadIO(d.pid)
	d.fault("io", err)
	d.num("process.io.read_bytes", int64(io.Read), err)
	d.num("process.io.write_bytes", int64(io.Written), err)
	d.num("process.disk.read_bytes", int64(io.DiskRead), err)
	d.num("process.disk.write_bytes", int64(io.DiskWritten), err)
}

func (d *dumper) limits() {
	limits, err := procfs.ReadLimits(d.pid)
	d.fault("limits", err)
	if err != nil {
		d.w.Null("process.limits")
		return
	}
	d.w.Object("process.limits")
	for _, l := range limits {
		d.w.Object(l.Name)
		for _, m := range []struct {
			key   string
			value int64
		}{{"soft", l.Soft}, {"hard", l.Hard}} {
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

func (d *dumper) threads(most int) (truncated bool) {
	d.w.Array("threads")
	total, visited, err := eachThread(d.done, d.pid, most, d.thread)
	d.w.End()
	d.fault("task", err)
	return visited < total
}

func (d *dumper) thread(t thread) {
	d.fault("threads[].stat", t.errStat)
	d.fault("threads[].wchan", t.errW)
	d.fault("threads[].syscall", t.errSC)
	w := &d.w
	w.Object("")
	w.Int("tid", int64(t.tid))
	d.str("name", t.stat.Comm, t.errStat)
	d.str("state", stateWord(t.stat.State), t.errStat)
	d.num("cpu.user_ms", ticksMS(t.stat.UTime), t.errStat)
	d.num("cpu.system_ms", ticksMS(t.stat.STime), t.errStat)
	d.str("wchan", t.wchan, errors.Join(t.errStat, t.errW))
	d.str("syscall", t.call.Word(), errors.Join(t.errStat, t.errSC))
	w.End()
}

func (d *dumper) files() (truncated bool) {
	o, err := openFiles(d.done, d.pid)
	d.fault("fd", err)
	w := &d.w
	if o.total > 0 {
		w.Int("process.unix.file_descriptor.count", int64(o.total))
	} else {
		d.num("process.unix.file_descriptor.count", 0, err)
	}
	if err != nil {
		w.Null("file_descriptor.kinds")
		w.Null("file_descriptors")
		return false
	}
	w.Object("file_descriptor.kinds")
	for _, k := range o.kinds {
		w.Int(k.word, int64(k.count))
	}
	w.End()
	w.Array("file_descriptors")
	shown := o.files[:min(len(o.files), listMax)]
	for _, f := range shown {
		w.Object("")
		w.Int("fd", int64(f.fd))
		w.Str("target", cli.Escape(f.target))
		w.End()
	}
	w.End()
	return len(shown) < o.total
}

func (d *dumper) mappings() (truncated bool) {
	maps, cut, err := procfs.ReadMaps(d.pid, mapsText)
	d.fault("maps", err)
	w := &d.w
	d.num("process.mapping.count", int64(len(maps)), err)
	if err != nil {
		w.Null("mappings")
		return false
	}
	found := objects(maps)
	w.Array("mappings")
	for _, o := range found[:min(len(found), listMax)] {
		w.Object("")
		w.Str("name", cli.Escape(o.name))
		w.Int("bytes", int64(o.bytes))
		w.Int("writable_bytes", int64(o.writable))
		w.Int("count", int64(o.count))
		w.Bool("executable", o.exec)
		w.End()
	}
	w.End()
	return cut || len(found) > listMax
}

func (d *dumper) bit(key string, value bool, err error) {
	if err != nil {
		d.w.Null(key)
		return
	}
	d.w.Bool(key, value)
}
