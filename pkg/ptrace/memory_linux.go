package ptrace

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Memory reads the memory of a process; an offset is an address. It is safe for
// concurrent use, from any thread, and the process may run meanwhile. The
// caller closes it.
type Memory struct {
	pid int
	mem *os.File
}

// OpenMemory needs the rights to trace the process; pid may be the id of any
// of its threads that lives.
func OpenMemory(pid int) (*Memory, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/mem")
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("pid %d: mem: %w", pid, err)
	}
	return &Memory{pid, f}, nil
}

// ReadAt reads with process_vm_readv(2), twice as fast as /proc/PID/mem, which
// takes over where a mapping is not readable for the process itself. n is less
// than len(p) only with an error; the first page behind n cannot be read.
func (m *Memory) ReadAt(p []byte, addr int64) (n int, err error) {
	local := []unix.Iovec{{Base: unsafe.SliceData(p)}}
	local[0].SetLen(len(p))
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(p)}}
	n, err = unix.ProcessVMReadv(m.pid, local, remote, 0)
	if n == len(p) && err == nil {
		return n, nil
	}
	n = max(n, 0)
	k, err := m.mem.ReadAt(p[n:], addr+int64(n))
	return n + k, err
}

// Piece is memory to read, and room for it.
type Piece struct {
	Addr uint64
	B    []byte
}

// Gather fills the pieces, many with one call of process_vm_readv(2) or, to be
// gentle, each through /proc/PID/mem. What cannot be read is zero; unread counts
// it.
func (m *Memory) Gather(pieces []Piece, gentle bool) (unread uint64) {
	const most = 1024 // IOV_MAX
	var local [most]unix.Iovec
	var remote [most]unix.RemoteIovec
	for len(pieces) > 0 {
		batch := pieces[:min(len(pieces), most)]
		pieces = pieces[len(batch):]
		size := 0
		for i, p := range batch {
			local[i].Base = unsafe.SliceData(p.B)
			local[i].SetLen(len(p.B))
			remote[i] = unix.RemoteIovec{Base: uintptr(p.Addr), Len: len(p.B)}
			size += len(p.B)
		}
		if !gentle {
			if n, err := unix.ProcessVMReadv(m.pid, local[:len(batch)], remote[:len(batch)], 0); err == nil && n == size {
				continue
			}
		}
		for _, p := range batch {
			if n, err := m.mem.ReadAt(p.B, int64(p.Addr)); err != nil {
				clear(p.B[n:])
				unread += uint64(len(p.B) - n)
			}
		}
	}
	return unread
}

// Gentle reads through /proc/PID/mem only. process_vm_readv pins each page,
// and for a page that a fork shares, the kernel then makes a copy: a whole
// process doubles.
func (m *Memory) Gentle(p []byte, addr int64) (n int, err error) { return m.mem.ReadAt(p, addr) }

// Close ends the use of m.
func (m *Memory) Close() error { return m.mem.Close() }
