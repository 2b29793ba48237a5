package capture

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// regset is a set of registers as PTRACE_GETREGSET and core files know it.
type regset struct {
	owner string // name of its note
	note  uint32
	max   int                 // bytes
	fit   func([]byte) []byte // what readers of cores can bear; nil: all of it
}

// thread is what only the tracer can know of a stopped thread.
type thread struct {
	tid     int
	signal  int
	held    uint64   // blocked signals
	regs    [][]byte // as regsets; nil: this machine has no such set
	siginfo [ptrace.SiginfoSize]byte
}

// errNot64 is reported for a thread whose registers are those of a 32-bit program.
var errNot64 = errors.New("32-bit registers")

// readThreads reads the registers. A thread that was killed meanwhile is left
// away.
func readThreads(stopped []*ptrace.Thread) ([]thread, error) {
	threads := make([]thread, 0, len(stopped))
	buf := make([]byte, 16<<10)
	for _, s := range stopped {
		t, err := readThread(s, buf)
		if errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		threads = append(threads, t)
	}
	if len(threads) == 0 {
		return nil, fs.ErrNotExist
	}
	return threads, nil
}

func readThread(s *ptrace.Thread, buf []byte) (thread, error) {
	t := thread{tid: s.TID, signal: int(s.Signal), regs: make([][]byte, len(regsets))}
	for i, set := range regsets {
		b, err := s.Regset(set.note, buf[:set.max])
		if err != nil {
			if i == 0 || errors.Is(err, syscall.ESRCH) {
				return t, err
			}
			continue
		}
		if i == 0 && len(b) != set.max {
			return t, errNot64
		}
		if set.fit != nil {
			b = set.fit(b)
		}
		t.regs[i] = append([]byte(nil), b...)
	}
	var err error
	if t.held, err = s.Held(); err != nil {
		return t, err
	}
	t.siginfo, err = s.Siginfo()
	return t, err
}

// appendThread appends the notes of one thread of t: NT_PRSTATUS, its other
// registers, NT_SIGINFO. What /proc no longer tells of a thread that was killed
// meanwhile stays zero.
func (t *Target) appendThread(notes []byte, th thread) []byte {
	p := corefile.Prstatus{
		Signal:  th.signal,
		Held:    th.held,
		PID:     th.tid,
		PPID:    t.stat.PPID,
		PGRP:    t.stat.PGRP,
		SID:     t.stat.Session,
		CUTime:  ticks(t.stat.CUTime),
		CSTime:  ticks(t.stat.CSTime),
		Regs:    th.regs[0],
		FPValid: th.regs[1] != nil,
	}
	// As the kernel does: the first thread bears the times of the whole process.
	read := procfs.ReadTaskStat
	if th.tid == t.PID {
		read = func(pid, _ int) (procfs.Stat, error) { return procfs.ReadStat(pid) }
	}
	if st, err := read(t.PID, th.tid); err == nil {
		p.UTime, p.STime = ticks(int64(st.UTime)), ticks(int64(st.STime))
	}
	if st, err := procfs.ReadTaskStatus(t.PID, th.tid); err == nil {
		p.Pending = st.SigPnd
	}
	notes = corefile.AppendNote(notes, corefile.Note{Name: regsets[0].owner, Type: corefile.NTPrstatus, Desc: corefile.AppendPrstatus(nil, p)})
	for i, set := range regsets[1:] {
		if b := th.regs[i+1]; b != nil {
			notes = corefile.AppendNote(notes, corefile.Note{Name: set.owner, Type: set.note, Desc: b})
		}
	}
	return corefile.AppendNote(notes, corefile.Note{Name: "CORE", Type: corefile.NTSiginfo, Desc: th.siginfo[:]})
}

func ticks(n int64) time.Duration { return time.Duration(n) * (time.Second / procfs.TicksPerSecond) }

// notes builds all notes of the core; id is a process that has the auxiliary
// vector of the target.
func (t *Target) notes(m *moment, id int, maps []procfs.Mapping) ([]byte, error) {
	auxv, err := procfs.Auxv(id)
	if err != nil {
		return nil, fmt.Errorf("auxiliary vector: %w", err)
	}
	psinfo := corefile.AppendPrpsinfo(nil, corefile.Prpsinfo{
		State: t.stat.State,
		Nice:  t.stat.Nice,
		Flags: t.stat.Flags,
		UID:   t.status.UID[0],
		GID:   t.status.GID[0],
		PID:   t.PID,
		PPID:  t.stat.PPID,
		PGRP:  t.stat.PGRP,
		SID:   t.stat.Session,
		Name:  t.Comm,
		Args:  strings.Join(t.args, " "),
	})
	b := corefile.AppendNote(nil, corefile.Note{Name: "CORE", Type: corefile.NTPrpsinfo, Desc: psinfo})
	for _, th := range m.threads {
		b = t.appendThread(b, th)
	}
	b = corefile.AppendNote(b, corefile.Note{Name: "CORE", Type: corefile.NTAuxv, Desc: auxv})
	files := corefile.AppendFile(nil, procfs.PageSize, mappedFiles(maps))
	return corefile.AppendNote(b, corefile.Note{Name: "CORE", Type: corefile.NTFile, Desc: files}), nil
}

func mappedFiles(maps []procfs.Mapping) (files []corefile.FileMapping) {
	for _, m := range maps {
		if m.Inode != 0 && m.Name != "" {
			name := strings.ReplaceAll(m.Name, `\012`, "\n")
			files = append(files, corefile.FileMapping{Start: m.Start, End: m.End, Offset: m.Offset, Name: name})
		}
	}
	return files
}
