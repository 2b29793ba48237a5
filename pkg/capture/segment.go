package capture

import (
	"strings"

	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
)

// Bits of /proc/PID/coredump_filter (core(5)). Whether a mapping is DAX cannot
// be seen from outside, so that it is judged as any other file.
const (
	dumpAnonPrivate = 1 << iota
	dumpAnonShared
	dumpFilePrivate
	dumpFileShared
	dumpELFHeaders
	dumpHugePrivate
	dumpHugeShared
)

// extent is how much of a mapping belongs into a core.
type extent int

const (
	nothing    extent = iota
	header            // the first page, if it is that of an ELF file
	populated         // the pages that exist; the rest reads as zero
	everything        // also what has to be read from the file behind it
)

// keep decides as the kernel does for a core of its own (vma_dump_size in
// fs/coredump.c), with two exceptions: device memory is never touched, and the
// part of a mapping that does not exist is not brought into being.
func keep(m procfs.Mapping, filter uint64) extent {
	wanted := func(bit uint64, e extent) extent {
		if filter&bit != 0 {
			return e
		}
		return nothing
	}
	switch {
	case m.Name == "[vdso]":
		return everything
	case m.Has("dd"), m.Has("io"), m.Has("pf"), strings.HasPrefix(m.Name, "[vvar"), m.Name == "[vsyscall]":
		return nothing
	case m.Has("ht") && m.Shared():
		return wanted(dumpHugeShared, populated)
	case m.Has("ht"):
		return wanted(dumpHugePrivate, populated)
	case m.Shared() && (m.Inode == 0 || strings.HasSuffix(m.Name, " (deleted)")):
		return wanted(dumpAnonShared, populated)
	case m.Shared():
		return wanted(dumpFileShared, populated)
	case m.Inode == 0 && m.RSS+m.Swap == 0:
		return nothing // reserved, never touched; there may be terabytes of it
	case m.Inode == 0:
		return wanted(dumpAnonPrivate, populated)
	case m.Anonymous+m.Swap > 0 && filter&dumpAnonPrivate != 0:
		// Written to: the unwritten rest of it is still that of the file.
		return everything
	case filter&dumpFilePrivate != 0:
		return everything
	case m.Offset == 0 && m.Perm[0] == 'r':
		return wanted(dumpELFHeaders, header)
	}
	return nothing
}

// forked says that the mapping has written pages in common with another
// process, which a pinning reader would make the kernel copy.
func forked(m procfs.Mapping) bool { return !m.Shared() && m.Anonymous > 0 && m.Common > 0 }

func flags(m procfs.Mapping) (f uint32) {
	for i, bit := range []uint32{corefile.Read, corefile.Write, corefile.Execute} {
		if m.Perm[i] == "rwx"[i] {
			f |= bit
		}
	}
	return f
}
