// Package uffd follows which pages of another process are written, while it
// runs: write protection by userfaultfd(2) in its asynchronous mode, where the
// kernel itself lifts the protection of a page at the first write, and the ioctl
// PAGEMAP_SCAN, which tells the lifted ones (package procfs).
//
// Protection belongs to a registered range of addresses. mremap(2) and a new
// mapping at the same place end the registration, silently; a query with
// procfs.CheckAsync then gives unix.EPERM. When the descriptor is closed, in
// whatever way, the kernel forgets all of it.
//
// Source: userfaultfd(2), Documentation/admin-guide/mm/userfaultfd.rst and
// pagemap.rst, fs/userfaultfd.c of Linux 6.12.
package uffd

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// The ioctls and words of include/uapi/linux/userfaultfd.h.
const (
	ioctlAPI        = 0xc018aa3f
	ioctlRegister   = 0xc020aa00
	ioctlUnregister = 0x8010aa01

	api         = 0xaa
	featureHuge = 1 << 12 // UFFD_FEATURE_WP_HUGETLBFS_SHMEM, which the next one needs
	featureWPAs = 1 << 15 // UFFD_FEATURE_WP_ASYNC, from 6.7 on
	modeWP      = 2
)

// Tracker holds the registrations in one process. It is safe for concurrent use.
type Tracker struct{ file *os.File }

// New takes over a userfaultfd of the process; the caller closes the Tracker,
// which closes it. An error means that this kernel has no asynchronous mode.
func New(file *os.File) (*Tracker, error) {
	t := &Tracker{file}
	arg := [3]uint64{api, featureHuge | featureWPAs, 0}
	if err := t.ioctl(ioctlAPI, unsafe.Pointer(&arg)); err != nil {
		file.Close()
		return nil, fmt.Errorf("userfaultfd: asynchronous write protection: %w", err)
	}
	return t, nil
}

func (t *Tracker) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, t.file.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Register has the pages between two addresses followed, once they are
// protected (procfs.Protect). errors.Is: unix.EBUSY, another userfaultfd follows
// them; unix.EPERM, unix.EINVAL, they cannot be.
func (t *Tracker) Register(start, end uint64) error {
	arg := [4]uint64{start, end - start, modeWP, 0}
	return t.ioctl(ioctlRegister, unsafe.Pointer(&arg))
}

// piece bounds how long the address space is locked at a time: to give up
// everything at once keeps every mmap(2) of the target waiting, 25 ms per GiB. In
// between, a larger mapping is cut into two, which mremap(2) refuses to move; so
// the pieces are as large as a wait of a millisecond allows. They end at multiples of
// their size, so that no huge page is cut.
const piece = 32 << 20

// Unregister ends it, from the top down in pieces, with pauses between them.
// What of it grew meanwhile, up to room, is part of the first piece. What is not
// registered (any more) does not matter.
func (t *Tracker) Unregister(start, end, room uint64) {
	for top := room; end > start; {
		next := max(start, (end-1)&^(piece-1))
		began := time.Now()
		if t.unregister(next, top) != nil && top != end {
			t.unregister(next, end) // somebody else's mapping lies there now
		}
		// As long as it took, so that the target gets at least half of the time.
		if took := time.Since(began); took > 50*time.Microsecond {
			time.Sleep(min(took, time.Millisecond))
		}
		end, top = next, next
	}
}

func (t *Tracker) unregister(start, end uint64) error {
	arg := [2]uint64{start, end - start}
	return t.ioctl(ioctlUnregister, unsafe.Pointer(&arg))
}

// Close ends all registrations that are left.
func (t *Tracker) Close() error { return t.file.Close() }
