package procfs

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// PageSize is the unit of the page tables in bytes.
var PageSize = uint64(os.Getpagesize())

// Pages tells which pages of a process hold data, so that a copy neither reads
// nor allocates the rest: a page that nobody touched comes into being when
// somebody reads it. It is safe for concurrent use. The caller closes it.
type Pages struct {
	pid     int
	pagemap *os.File
	noGuard atomic.Bool // the kernel does not know PAGE_IS_GUARD
}

// OpenPages needs the rights to trace pid (see the package comment).
func OpenPages(pid int) (*Pages, error) {
	f, err := os.Open(path(pid, "pagemap"))
	if err != nil {
		return nil, wrap(pid, "pagemap", err)
	}
	return &Pages{pid: pid, pagemap: f}, nil
}

// Close ends the use of p.
func (p *Pages) Close() error { return p.pagemap.Close() }

// Present visits, in ascending order, the runs of pages between start and end
// (multiples of PageSize) that are in memory or in swap, guard pages (MADV_GUARD_INSTALL) left out. Pages of a file or of
// shared memory that the process itself has not touched are not among them. It
// stops at the first error of visit and returns it.
func (p *Pages) Present(start, end uint64, visit func(start, end uint64) error) error {
	err := p.scan(start, end, visit)
	if errors.Is(err, unix.ENOTTY) { // before Linux 6.7, which walks holes faster
		err = p.read(start, end, visit)
	}
	return err
}

// The ioctl PAGEMAP_SCAN, from include/uapi/linux/fs.h of Linux 6.7.
const (
	pagemapScan   = 0xc0606610
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsGuard   = 1 << 8 // from 6.16 on; EINVAL before

	pmGuard = 1 << 58 // the same in an entry of pagemap; 0 before
)

type pageRegion struct{ start, end, categories uint64 }

type pmScanArg struct {
	size, flags                    uint64
	start, end, walkEnd            uint64
	vec, vecLen, maxPages          uint64
	inverted, mask, anyOf, returns uint64
}

func (p *Pages) scan(start, end uint64, visit func(start, end uint64) error) error {
	regions := make([]pageRegion, 512)
	for start < end {
		arg := pmScanArg{
			start:   start,
			end:     end,
			vec:     uint64(uintptr(unsafe.Pointer(unsafe.SliceData(regions)))),
			vecLen:  uint64(len(regions)),
			anyOf:   pageIsPresent | pageIsSwapped,
			returns: pageIsPresent | pageIsSwapped,
		}
		if !p.noGuard.Load() {
			arg.inverted, arg.mask = pageIsGuard, pageIsGuard
		}
		arg.size = uint64(unsafe.Sizeof(arg))
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, p.pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno == unix.EINVAL && !p.noGuard.Swap(true) {
			continue
		}
		if errno == unix.ENOTTY {
			return errno
		}
		if errno != 0 {
			return fmt.Errorf("pid %d: pagemap: scan from %#x: %w", p.pid, start, errno)
		}
		// A run that changes from memory to swap comes as two.
		var run pageRegion
		for _, r := range regions[:n] {
			if r.start != run.end {
				if err := visitRun(run, visit); err != nil {
					return err
				}
				run.start = r.start
			}
			run.end = r.end
		}
		if err := visitRun(run, visit); err != nil {
			return err
		}
		if arg.walkEnd <= start {
			break
		}
		start = arg.walkEnd
	}
	return nil
}

func visitRun(r pageRegion, visit func(start, end uint64) error) error {
	if r.start == r.end {
		return nil
	}
	return visit(r.start, r.end)
}

// read gets the same from the entries of pagemap, 8 bytes per page.
func (p *Pages) read(start, end uint64, visit func(start, end uint64) error) error {
	buf := make([]byte, 1<<18)
	var run pageRegion
	for start < end {
		n := min((end-start)/PageSize*8, uint64(len(buf)))
		if _, err := p.pagemap.ReadAt(buf[:n], int64(start/PageSize*8)); err != nil {
			return wrap(p.pid, "pagemap", err)
		}
		for i := uint64(0); i < n; i += 8 {
			e := binary.LittleEndian.Uint64(buf[i:])
			if e>>62 != 0 && e&pmGuard == 0 { // present, swapped
				if run.end != start {
					if err := visitRun(run, visit); err != nil {
						return err
					}
					run.start = start
				}
				run.end = start + PageSize
			}
			start += PageSize
		}
	}
	return visitRun(run, visit)
}

// Backed visits the runs of m that hold data in the file or shared memory
// behind it, touched by this process or not, in ascending order. It needs
// CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE in the first user namespace: without,
// errors.Is(err, fs.ErrPermission) holds and nothing was visited.
func (p *Pages) Backed(m Mapping, visit func(start, end uint64) error) error {
	name := "map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)
	// Opening a device can do anything, so look first.
	info, err := os.Stat(path(p.pid, name))
	if err != nil {
		return wrap(p.pid, name, err)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path(p.pid, name))
	if err != nil {
		return wrap(p.pid, name, err)
	}
	defer f.Close()
	for off, end := int64(m.Offset), int64(m.Offset+m.Size()); off < end; {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || data >= end {
			return nil // only a hole is left
		}
		if err != nil {
			return wrap(p.pid, name, err)
		}
		off, err = f.Seek(data, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) || errors.Is(err, io.EOF) {
			return nil // it was cut short meanwhile
		}
		if err != nil {
			return wrap(p.pid, name, err)
		}
		from := m.Start + uint64(data)/PageSize*PageSize - m.Offset
		to := min(m.Start+(uint64(off)+PageSize-1)/PageSize*PageSize-m.Offset, m.End)
		if err := visit(from, to); err != nil {
			return err
		}
	}
	return nil
}
