package procfs

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Layout answers, mapping by mapping, where the mappings of a process are right
// now (the ioctl PROCMAP_QUERY of Linux 6.11): a list of all of them is stale
// before it is read. It is safe for concurrent use. The caller closes it.
type Layout struct {
	pid  int
	maps *os.File
}

// OpenLayout needs the rights to trace pid. errors.Is(err, unix.ENOTTY) before
// Linux 6.11.
func OpenLayout(pid int) (*Layout, error) {
	f, err := os.Open(path(pid, "maps"))
	if err != nil {
		return nil, wrap(pid, "maps", err)
	}
	l := &Layout{pid, f}
	if _, _, err := l.At(0); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// Close ends the use of l.
func (l *Layout) Close() error { return l.maps.Close() }

const (
	procmapQuery  = 0xc0686611
	procmapNext   = 1 << 4 // PROCMAP_QUERY_COVERING_OR_NEXT_VMA
	procmapShared = 1 << 3
)

type procmapArg struct {
	size, queryFlags, addr      uint64
	start, end, flags, pageSize uint64
	offset, inode               uint64
	major, minor                uint32
	nameSize, buildIDSize       uint32
	nameAddr, buildIDAddr       uint64
}

// At gives the mapping that covers addr, or the next one; ok is false behind the
// last. Only its range, Offset, Inode and Perm are set.
func (l *Layout) At(addr uint64) (m Mapping, ok bool, err error) {
	arg := procmapArg{queryFlags: procmapNext, addr: addr}
	arg.size = uint64(unsafe.Sizeof(arg))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, l.maps.Fd(), procmapQuery, uintptr(unsafe.Pointer(&arg)))
	switch {
	case errno == unix.ENOENT:
		return m, false, nil
	case errno != 0:
		return m, false, fmt.Errorf("pid %d: maps: query: %w", l.pid, errno)
	}
	perm := []byte("---p")
	for i := range 3 {
		if arg.flags>>i&1 == 1 {
			perm[i] = "rwx"[i]
		}
	}
	if arg.flags&procmapShared != 0 {
		perm[3] = 's'
	}
	return Mapping{Start: arg.start, End: arg.end, Offset: arg.offset, Inode: arg.inode, Perm: string(perm)}, true, nil
}

// OpenMapped opens the file behind a mapping for reading. Without the right to
// use /proc/PID/map_files (see Backed) it goes by the name, and is content only
// with the same file.
func OpenMapped(pid int, m Mapping) (*os.File, error) {
	name := "map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)
	// Opening a device can do anything, so look first.
	if info, err := os.Stat(path(pid, name)); err == nil && info.Mode().IsRegular() {
		if f, err := os.Open(path(pid, name)); err == nil {
			return f, nil
		}
	}
	f, err := os.OpenFile(m.Name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, wrap(pid, "maps", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != m.Inode || unix.Major(uint64(st.Dev)) != m.DevMajor || unix.Minor(uint64(st.Dev)) != m.DevMinor {
		f.Close()
		return nil, fmt.Errorf("%s: is not the file that is mapped", m.Name)
	}
	return f, nil
}
