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
	pagemapScan = 0xc0606610

	pageIsGuard = 1 << 8 // from 6.16 on; EINVAL before

	pmGuard = 1 << 58 // the same in an entry of pagemap; 0 before
)

// Categories of pages.
const (
	Written = 1 << 1 // since it was protected; also a hole, and what was never protected
	File    = 1 << 2 // of a file or of shared memory
	Present = 1 << 3
	Swapped = 1 << 4
	Zero    = 1 << 5 // the page of zeroes that all share: read, and never written
)

// What a Query does besides.
const (
	Protect    = 1 << 0 // protects the pages that match
	CheckAsync = 1 << 1 // fails with unix.EPERM where a range is not followed (package uffd)
)

// Query is a question about pages: those match that have all categories of All
// and, unless it is 0, one of AnyOf; of Inverted, the opposite counts.
type Query struct {
	Flags    uint64
	Inverted uint64
	All      uint64
	AnyOf    uint64
	Returns  uint64 // what Region.Categories tells
}

// Region is a run of pages of the same categories.
type Region struct {
	Start, End uint64
	Categories uint64
}

// Size is its length in bytes.
func (r Region) Size() uint64 { return r.End - r.Start }

type pmScanArg struct {
	size, flags           uint64
	start, end, walkEnd   uint64
	vec, vecLen, maxPages uint64
	query                 struct{ inverted, mask, anyOf, returns uint64 }
}

// Scan asks about the pages between start and end and appends what matches to
// out, in ascending order; buf is room for the answers of one call. The error is
// a bare unix.Errno: unix.ENOTTY before Linux 6.7.
func (p *Pages) Scan(q Query, start, end uint64, buf, out []Region) ([]Region, error) {
	for start < end {
		walked, n, err := p.ask(q, start, end, buf)
		if err != nil {
			return out, err
		}
		out = append(out, buf[:n]...)
		if walked <= start {
			break
		}
		start = walked
	}
	return out, nil
}

// ask makes one call; walked is how far it came.
func (p *Pages) ask(q Query, start, end uint64, buf []Region) (walked uint64, n int, err error) {
	arg := pmScanArg{
		flags:  q.Flags,
		start:  start,
		end:    end,
		vec:    uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))),
		vecLen: uint64(len(buf)),
	}
	arg.query.inverted, arg.query.mask, arg.query.anyOf, arg.query.returns = q.Inverted, q.All, q.AnyOf, q.Returns
	arg.size = uint64(unsafe.Sizeof(arg))
	found, _, errno := unix.Syscall(unix.SYS_IOCTL, p.pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return 0, 0, errno
	}
	return arg.walkEnd, int(found), nil
}

func (p *Pages) scan(start, end uint64, visit func(start, end uint64) error) error {
	buf := make([]Region, 512)
	for start < end {
		q := Query{AnyOf: Present | Swapped, Returns: Present | Swapped}
		if !p.noGuard.Load() {
			q.Inverted, q.All = pageIsGuard, pageIsGuard
		}
		walked, n, err := p.ask(q, start, end, buf)
		if err == unix.EINVAL && !p.noGuard.Swap(true) {
			continue
		}
		if err == unix.ENOTTY {
			return err
		}
		if err != nil {
			return fmt.Errorf("pid %d: pagemap: scan from %#x: %w", p.pid, start, err)
		}
		// A run that changes from memory to swap comes as two.
		var run Region
		for _, r := range buf[:n] {
			if r.Start != run.End {
				if err := visitRun(run, visit); err != nil {
					return err
				}
				run.Start = r.Start
			}
			run.End = r.End
		}
		if err := visitRun(run, visit); err != nil {
			return err
		}
		if walked <= start {
			break
		}
		start = walked
	}
	return nil
}

func visitRun(r Region, visit func(start, end uint64) error) error {
	if r.Start == r.End {
		return nil
	}
	return visit(r.Start, r.End)
}

// read gets the same from the entries of pagemap, 8 bytes per page.
func (p *Pages) read(start, end uint64, visit func(start, end uint64) error) error {
	buf := make([]byte, 1<<18)
	var run Region
	for start < end {
		n := min((end-start)/PageSize*8, uint64(len(buf)))
		if _, err := p.pagemap.ReadAt(buf[:n], int64(start/PageSize*8)); err != nil {
			return wrap(p.pid, "pagemap", err)
		}
		for i := uint64(0); i < n; i += 8 {
			e := binary.LittleEndian.Uint64(buf[i:])
			if e>>62 != 0 && e&pmGuard == 0 { // present, swapped
				if run.End != start {
					if err := visitRun(run, visit); err != nil {
						return err
					}
					run.Start = start
				}
				run.End = start + PageSize
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
