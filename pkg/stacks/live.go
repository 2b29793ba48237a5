package stacks

import (
	"errors"
	"strconv"
	"strings"

	"vigil/pkg/capture"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/unwind"
)

// Live stops all threads of t together, copies what it needs, lets them go and
// tells their stacks, at most limit frames of each thread. The errors are those
// of capture.Open.
func Live(t *capture.Target, limit int) (*Process, error) {
	snap, err := t.Snapshot()
	if err != nil {
		return nil, err
	}
	p := &Process{PID: t.PID, Comm: t.Comm, Exe: t.Exe, Time: snap.Time, Pause: snap.Pause}
	id := snap.Threads[0].TID // the first thread may have ended: then it shows no memory
	space := unwind.Process{Machine: capture.Machine, Maps: liveMappings(snap.Maps)}
	ms := newModules(space.Maps, func(m unwind.Mapping) []string { return livePaths(id, m) })
	defer ms.Close()
	space.Modules = ms
	if mem, err := ptrace.OpenMemory(id); err == nil {
		defer mem.Close()
		// For code alone: what else is behind the copied stacks has changed since.
		space.Code, ms.memory = mem, mem
	}
	s, ok := unwind.NewSpace(space)
	if !ok {
		return nil, errors.New("stacks: this machine is not known")
	}
	var list []unwind.Stack
	for _, c := range snap.Threads {
		p.Threads = append(p.Threads, Thread{TID: c.TID, Signal: c.Signal})
		list = append(list, s.Unwind(c.Regs, c.Stack, limit))
	}
	for _, u := range snap.LeftOut {
		p.Threads = append(p.Threads, Thread{TID: u.TID, State: u.State})
		list = append(list, s.At(u.PC, u.SP))
	}
	s.Name(list)
	for i := range list {
		p.Threads[i].Stack = list[i]
		p.Threads[i].Comm, _ = procfs.Comm(t.PID, p.Threads[i].TID) // "": it has ended
	}
	return p, nil
}

func liveMappings(maps []procfs.Mapping) []unwind.Mapping {
	out := make([]unwind.Mapping, 0, len(maps))
	for _, m := range maps {
		u := unwind.Mapping{Start: m.Start, End: m.End, Offset: m.Offset, Executable: m.Perm[2] == 'x'}
		switch {
		case m.Inode != 0:
			u.Name = m.Name
			u.Key = strconv.FormatUint(m.Inode, 16) + " " + strconv.FormatUint(uint64(m.DevMajor), 16) + ":" + strconv.FormatUint(uint64(m.DevMinor), 16) + " " + m.Name
		case m.Name == vdsoName:
			u.Key, u.Name = vdsoName, vdsoName
		}
		out = append(out, u)
	}
	return out
}

// livePaths lists where the file of a mapping can be had: the very file, also if
// it was deleted, for root; for others what now bears its name in the target's
// view.
func livePaths(id int, m unwind.Mapping) []string {
	if m.Name == vdsoName {
		return nil
	}
	proc := "/proc/" + strconv.Itoa(id)
	paths := []string{proc + "/map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)}
	if strings.HasPrefix(m.Name, "/") {
		paths = append(paths, proc+"/root"+strings.ReplaceAll(m.Name, `\012`, "\n"))
	}
	return paths
}
