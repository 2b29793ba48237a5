package stacks

import (
	"io"
	"slices"
	"sort"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/unwind"
)

const (
	maxThreads = 1 << 16 // of a core
	maxRegs    = 1 << 10 // bytes of general registers
)

// core is what the notes of a core tell.
type core struct {
	*Process
	files []corefile.FileMapping
	vdso  uint64
	regs  [][]byte // of Threads
}

// FromCore tells the stacks in a core file, the kernel's, ours or gdb's, by the
// files that it names, as they are on this system; path is for the messages. A
// file that has changed since is not used. At most limit frames of a thread.
func FromCore(r io.ReaderAt, path string, limit int) (*Process, error) {
	return fromCore(r, path, limit, func(m unwind.Mapping) []string {
		if m.Name == vdsoName {
			return nil
		}
		return []string{m.Name}
	})
}

func fromCore(r io.ReaderAt, path string, limit int, paths func(unwind.Mapping) []string) (*Process, error) {
	parsed, err := corefile.Parse(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := core{Process: &Process{Core: path}}
	if err := parsed.Notes(c.note); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(c.Threads) == 0 {
		return nil, fmt.Errorf("%s: core: no thread in it", path)
	}
	memory := parsed.Memory()
	maps := c.mappings(parsed.Segments)
	ms := newModules(maps, paths)
	ms.memory = memory
	defer ms.Close()
	space, ok := unwind.NewSpace(unwind.Process{Machine: parsed.Machine, Maps: maps, Modules: ms, Code: memory, Memory: memory})
	if !ok {
		return nil, fmt.Errorf("%s: core: of machine %d, which is not known here", path, parsed.Machine)
	}
	list := make([]unwind.Stack, len(c.Threads))
	for i := range c.Threads {
		list[i] = space.Unwind(c.regs[i], nil, limit)
	}
	space.Name(list)
	for i := range c.Threads {
		c.Threads[i].Stack = list[i]
	}
	return c.Process, nil
}

func (c *core) note(n corefile.Note) error {
	if n.Name != "CORE" {
		return nil
	}
	switch n.Type {
	case corefile.NTPrstatus:
		p, err := corefile.ParsePrstatus(n.Desc)
		if err != nil {
			return err
		}
		if len(c.Threads) == maxThreads || len(p.Regs) > maxRegs {
			return fmt.Errorf("core: prstatus: too many threads, or too large")
		}
		c.Threads = append(c.Threads, Thread{TID: p.PID, Signal: p.Signal})
		c.regs = append(c.regs, slices.Clone(p.Regs))
	case corefile.NTPrpsinfo:
		if p, err := corefile.ParsePrpsinfo(n.Desc); err == nil {
			c.PID, c.Comm = p.PID, p.Name
		}
	case corefile.NTFile:
		var err error
		c.files, err = corefile.ParseFile(n.Desc)
		return err
	case corefile.NTAuxv:
		c.vdso, _ = corefile.AuxvValue(n.Desc, corefile.ATSysinfoEHDR)
	}
	return nil
}

const vdsoName = "[vdso]"

// byStart sorts what a core says of files.
type byStart []corefile.FileMapping

func (b byStart) Len() int           { return len(b) }
func (b byStart) Less(i, j int) bool { return b[i].Start < b[j].Start }
func (b byStart) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// mappings names the segments by the files that lie there. gdb's cores have no
// segment for what is in a file and was not written to: it may be code.
func (c *core) mappings(segments []corefile.Segment) []unwind.Mapping {
	sort.Sort(byStart(c.files))
	covered := make([]bool, len(c.files))
	maps := make([]unwind.Mapping, 0, len(segments)+len(c.files))
	for _, s := range segments {
		if s.Address+s.MemSize <= s.Address {
			continue
		}
		m := unwind.Mapping{Start: s.Address, End: s.Address + s.MemSize, Executable: s.Flags&corefile.Execute != 0}
		i, _ := slices.BinarySearchFunc(c.files, s.Address, func(f corefile.FileMapping, a uint64) int {
			if f.End <= a {
				return -1
			}
			return 1
		})
		switch {
		case i < len(c.files) && c.files[i].Start <= s.Address:
			covered[i] = true
			maps = append(maps, inFile(c.files[i], m))
			continue
		case c.vdso != 0 && c.vdso >= m.Start && c.vdso < m.End:
			m.Key, m.Name = vdsoName, vdsoName
		}
		maps = append(maps, m)
	}
	for i, f := range c.files {
		if !covered[i] && f.Start < f.End {
			maps = append(maps, inFile(f, unwind.Mapping{Start: f.Start, End: f.End, Executable: true}))
		}
	}
	return maps
}

// inFile completes a mapping that begins in f.
func inFile(f corefile.FileMapping, m unwind.Mapping) unwind.Mapping {
	m.Offset, m.Key, m.Name = f.Offset+m.Start-f.Start, f.Name, f.Name
	return m
}
