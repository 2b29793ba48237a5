package capture

import (
	"io"
	"slices"
	"sort"
	"strings"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/unwind"
)

// miniTotal is how much of all stacks a mini core holds: with the rest it stays
// under 1 MiB for 50 threads.
const miniTotal = 768 << 10

// mini keeps of the memory only what a debugger with the programs at hand needs
// for the frames of all threads: the used part of the stacks, the vdso, the
// headers of the ELF files, by which it knows them, and the list of them that the
// dynamic loader keeps. All that may change is copied within the stop.
func (j *job) mini() (*Report, error) {
	k := keeping{arena: newArena(j.status.Threads), total: miniTotal}
	if j.opt.MaxSize > 0 {
		k.total = min(k.total, int(j.opt.MaxSize/2))
	}
	var r *Report
	err := ptrace.Run(func() error {
		pause, err := j.hold(func(_ *ptrace.Session, m *moment) error {
			k.moment = m
			return k.take(j.PID)
		})
		if err == nil {
			r = k.moment.report(pause)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, j.writeMini(&k, r)
}

// writeMini writes the core, with the target running.
func (j *job) writeMini(k *keeping, r *Report) error {
	id := k.moment.id()
	if mem, err := ptrace.OpenMemory(id); err == nil {
		defer mem.Close()
		k.keepHeaders(mem)
		r.BuildIDs = buildIDs(k.maps, mem)
	}
	notes, err := j.notes(k.moment, id, k.maps)
	if err != nil {
		return err
	}
	segments, parts := k.segments()
	const align = 16 // no pages to be mapped from here, and no gaps
	head, size, err := corefile.Lay(machine, notes, segments, align)
	if err != nil {
		return err
	}
	if j.opt.MaxSize > 0 && size > uint64(j.opt.MaxSize) {
		return fmt.Errorf("pid %d: its mini core has %d bytes, more than the %d that it may have", j.PID, size, j.opt.MaxSize)
	}
	core := append(make([]byte, 0, size), head...)
	for i, s := range segments {
		core = append(core, make([]byte, s.Offset-uint64(len(core)))...)
		core = append(core, parts[i]...)
	}
	if err := j.out.SetSize(int64(len(core))); err != nil {
		return err
	}
	if _, err := j.out.WriteAt(core, 0); err != nil {
		return err
	}
	r.Bytes, r.Size = int64(len(core)), int64(len(core))
	if k.cut > 0 {
		r.Partial = fmt.Sprintf("stacks are cut to %d bytes", k.cut)
	}
	return nil
}

// keeping is what a mini core will hold.
type keeping struct {
	*arena
	*moment
	total int // bytes of all stacks
	cut   int // bytes of a stack at most; 0 if none was cut
	maps  []procfs.Mapping
	kept  []unwind.Piece
}

// take copies what belongs to the moment.
func (k *keeping) take(pid int) error {
	mem, err := ptrace.OpenMemory(k.id())
	if err != nil {
		return err
	}
	defer mem.Close()
	if k.maps, _, err = procfs.ReadMaps(k.id(), mapsLimit); err != nil {
		return err
	}
	var used []int
	for _, th := range k.threads {
		if sp, ok := unwind.StackPointer(machine, th.regs[0]); ok {
			start, end, _ := stackRange(k.maps, sp, k.total)
			used = append(used, int(end-start))
		}
	}
	limit := share(used, k.total)
	if slices.Max(append(used, 0)) > limit {
		k.cut = limit
	}
	for _, th := range k.threads {
		k.kept = append(k.kept, copyStack(mem, k.maps, th.regs[0], limit, k.arena)...)
		area, size := threadArea(th.regs)
		k.keep(mem, area, size)
	}
	if auxv, err := procfs.Auxv(k.id()); err == nil {
		linkMap(mem, auxv, func(addr, size uint64) { k.keep(mem, addr, size) })
		k.keepLoader(mem, auxv)
	}
	for _, m := range k.maps {
		if m.Name == "[vdso]" {
			k.keep(mem, m.Start, m.Size())
		}
	}
	return nil
}

// share gives the largest limit for which parts of these sizes, cut to it, stay
// within total; but none is cut below stackFloor.
func share(sizes []int, total int) int {
	sorted := slices.Clone(sizes)
	slices.Sort(sorted)
	for i, n := range sorted {
		rest := len(sorted) - i
		if n*rest > total {
			return max(total/rest, stackFloor) &^ 15
		}
		total -= n
	}
	return max(slices.Max(append(sorted, 0)), stackFloor)
}

// keep copies memory as far as it can be read.
func (k *keeping) keep(mem io.ReaderAt, addr, size uint64) {
	b := k.arena.take(int(size))
	if n, _ := mem.ReadAt(b, int64(addr)); n > 0 {
		k.kept = append(k.kept, unwind.Piece{Base: addr, Bytes: b[:n]})
	}
}

// keepLoader keeps the data of the dynamic loader, or of a program that has none,
// and of glibc: libthread_db, with which gdb looks at threads, finds the list of
// them there, by a pointer that is read-only once it was set.
func (k *keeping) keepLoader(mem io.ReaderAt, auxv []byte) {
	base, _ := corefile.AuxvValue(auxv, corefile.ATBase)
	if base == 0 {
		base, _ = corefile.AuxvValue(auxv, corefile.ATPhdr)
	}
	loader := ""
	if m := mappingAt(k.maps, base); m != nil {
		loader = m.Name
	}
	left := uint64(loaderLimit)
	for i, m := range k.maps {
		base := m.Name[strings.LastIndexByte(m.Name, '/')+1:]
		if m.Inode == 0 || m.Perm[1] != 'w' || m.Name != loader && !strings.HasPrefix(base, "libc.so") && !strings.HasPrefix(base, "libpthread") {
			continue
		}
		from := i
		if i > 0 && k.maps[i-1].Inode == m.Inode && k.maps[i-1].End == m.Start && k.maps[i-1].Perm[2] != 'x' {
			from-- // what was made read-only (PT_GNU_RELRO)
		}
		for _, d := range k.maps[from : i+1] {
			if d.Size() <= left {
				k.keep(mem, d.Start, d.Size())
				left -= d.Size()
			}
		}
	}
}

// loaderLimit bounds that: a static program may have much data.
const loaderLimit = 128 << 10

// keepHeaders keeps the beginning of each ELF file: its headers and its build
// id. None of it changes.
func (k *keeping) keepHeaders(mem io.ReaderAt) {
	for _, m := range k.maps {
		if m.Inode != 0 && m.Offset == 0 && m.Perm[0] == 'r' && startsELF(mem, m.Start) {
			k.keep(mem, m.Start, min(m.Size(), headerBytes))
		}
	}
}

// headerBytes holds the program headers and the notes, which linkers put behind
// them.
const headerBytes = 1280

// byBase sorts pieces, of two that begin alike the longer first.
type byBase []unwind.Piece

func (b byBase) Len() int      { return len(b) }
func (b byBase) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b byBase) Less(i, j int) bool {
	return b[i].Base < b[j].Base || b[i].Base == b[j].Base && len(b[i].Bytes) > len(b[j].Bytes)
}

// segments makes a segment of each piece, cut where a mapping ends. What was not
// kept is not described, or a debugger would show zeroes there; but for code, which
// it takes from the files.
func (k *keeping) segments() (segments []corefile.Segment, parts [][]byte) {
	sort.Sort(byBase(k.kept))
	rest := k.kept
	for _, m := range k.maps {
		if m.Name == "[vsyscall]" {
			continue
		}
		at := m.Start // up to here all is said
		add := func(to uint64, part []byte) {
			if at < to && (part != nil || m.Perm[2] == 'x') {
				segments = append(segments, corefile.Segment{Address: at, MemSize: to - at, FileSize: uint64(len(part)), Flags: flags(m)})
				parts = append(parts, part)
			}
			at = max(at, to)
		}
		for len(rest) > 0 && rest[0].Base < m.End {
			p := rest[0]
			rest = rest[1:]
			if end := p.Base + uint64(len(p.Bytes)); end <= at {
				continue // another piece holds it as well
			} else if end > m.End { // it goes on in the next mapping
				rest = append([]unwind.Piece{{Base: m.End, Bytes: p.Bytes[m.End-p.Base:]}}, rest...)
				p.Bytes = p.Bytes[:m.End-p.Base]
			}
			if p.Base < at {
				p.Bytes = p.Bytes[at-p.Base:]
				p.Base = at
			}
			add(p.Base, nil)
			add(p.Base+uint64(len(p.Bytes)), p.Bytes)
		}
		add(m.End, nil)
	}
	return segments, parts
}
