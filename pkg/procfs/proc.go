// Package procfs reads what /proc tells about one process: bounded, parsed, and
// prepared for a process that lies, hangs or ends meanwhile.
//
// The Parse functions are pure and accept any bytes. The Read functions never
// take more than a fixed size into memory and give up on files whose read can block
// on the address space of the target (a thread stuck in a page fault holds it): after
// a second that they were blocked (smaps: ten), after ten times that in any case; that
// error is os.ErrDeadlineExceeded.
//
// A process that is gone, or hidden by the mount option hidepid, is reported as
// an error for which errors.Is(err, fs.ErrNotExist) holds.
//
// Without privileges, stat, status, cmdline and the list of threads of every
// process can be read (hidepid apart), with zeroes for the addresses in stat. maps, smaps,
// exe, auxv, wchan, syscall and coredump_filter need the rights to trace the
// target: the same uid in all of its ids, a dumpable target, or CAP_SYS_PTRACE;
// otherwise errors.Is(err, fs.ErrPermission) holds (wchan then reads as empty).
//
// Source: proc(5), fs/proc/array.c and fs/proc/task_mmu.c of Linux 6.12.
package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/pkg/fmt"
)

const (
	firstRead = 512       // what most files of a thread fit in
	maxSmall  = 1 << 16   // stat, status, wchan …: a page in practice
	maxArgs   = 1 << 20   // cmdline: ARG_MAX is 2 MiB by default, a diagnosis needs no more than this
	maxMaps   = 128 << 20 // smaps of 65530 mappings is about 46 MiB

	// How long a read that takes the target's mmap_lock may last. smaps walks
	// the page tables: 10 s are enough for a TiB.
	lockLimit  = time.Second
	smapsLimit = 10 * time.Second

	// Periods is how many times as long a read may take that only waits for a
	// processor: a machine so busy is one that people want to look into.
	Periods = 10
)

// TicksPerSecond is USER_HZ, the unit of the times in stat, on every
// architecture that Go supports.
const TicksPerSecond = 100

// goneError says that a process does not exist (any more).
type goneError struct{ pid int }

func (e goneError) Error() string { return "pid " + strconv.Itoa(e.pid) + ": no such process" }

func (e goneError) Is(target error) bool { return target == fs.ErrNotExist }

// SyntaxError says where the content of a file was not understood.
type SyntaxError struct {
	File   string // stat, status, maps, smaps, syscall
	Line   int    // from 1
	Detail string
}

func (e *SyntaxError) Error() string {
	return e.File + ": line " + strconv.Itoa(e.Line) + ": " + e.Detail
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func taskPath(tid int, name string) string { return "task/" + strconv.Itoa(tid) + "/" + name }

// wrap names the process and the file once, and tells "gone" from other causes.
func wrap(pid int, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return goneError{pid}
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("pid %d: %s: %w", pid, name, err)
}

// read returns the whole file, at most limit bytes; cut says that there was more.
// It works on the bare descriptor: a dump reads thousands of these files, and an
// os.File costs more than the reading.
func read(pid int, name string, limit int) (b []byte, cut bool, err error) {
	fd, err := retry(func() (int, error) { return syscall.Open(path(pid, name), syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, false, wrap(pid, name, err)
	}
	defer syscall.Close(fd)
	b = make([]byte, 0, firstRead)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, 3*len(b))
		}
		n, err := retry(func() (int, error) { return syscall.Read(fd, b[len(b):min(cap(b), limit+1)]) })
		if err != nil {
			return nil, false, wrap(pid, name, err)
		}
		b = b[:len(b)+n]
		if len(b) > limit {
			return b[:limit], true, nil
		}
		if n == 0 {
			return b, false, nil
		}
	}
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR {
			return n, err
		}
	}
}

func readWhole(pid int, name string, limit int) ([]byte, error) {
	b, cut, err := read(pid, name, limit)
	if err == nil && cut {
		err = fmt.Errorf("pid %d: %s: longer than %d bytes", pid, name, limit)
	}
	return b, err
}

// stuck holds a token per read that waits for an mmap_lock. Such a read cannot
// be called off, so a server that is asked again and again about one hung
// process must not collect a thread for each question.
var stuck = make(chan struct{}, 8)

// readLocked reads a file for which the kernel takes the target's mmap_lock.
func readLocked(pid int, name string, limit int, patience time.Duration) (b []byte, cut bool, err error) {
	return patiently(pid, name, patience, func() ([]byte, bool, error) { return read(pid, name, limit) })
}

// patiently waits for a read, but not for ever.
func patiently(pid int, name string, patience time.Duration, read func() ([]byte, bool, error)) (b []byte, cut bool, err error) {
	select {
	case stuck <- struct{}{}:
	default:
		return nil, false, fmt.Errorf("pid %d: %s: too many reads hang: %w", pid, name, os.ErrDeadlineExceeded)
	}
	type result struct {
		b   []byte
		cut bool
		err error
	}
	done := make(chan result, 1)
	var reader atomic.Int64
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		reader.Store(int64(syscall.Gettid()))
		b, cut, err := read()
		<-stuck
		done <- result{b, cut, err}
	}()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for range Periods {
		select {
		case r := <-done:
			return r.b, r.cut, r.err
		case <-tick.C:
		}
		if Blocked(int(reader.Load())) {
			break
		}
	}
	return nil, false, fmt.Errorf("pid %d: %s: address space is locked: %w", pid, name, os.ErrDeadlineExceeded)
}

// Blocked says whether a thread of this process waits in the kernel, for what may
// never come, and not just for a processor.
func Blocked(tid int) bool {
	st, err := ReadTaskStat(os.Getpid(), tid)
	return err == nil && st.State == 'D'
}

// Cmdline returns the arguments of pid, as the process left them (it may have
// overwritten them); empty for a kernel thread or a zombie. At most 1 MiB is
// returned.
func Cmdline(pid int) ([]string, error) {
	b, _, err := readLocked(pid, "cmdline", maxArgs, lockLimit)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00"), nil
}

// Exe returns the path of the executable, with " (deleted)" behind it when it
// was removed or replaced; empty for a kernel thread or a zombie.
func Exe(pid int) (string, error) {
	s, err := os.Readlink(path(pid, "exe"))
	if err == nil {
		return s, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Lstat(path(pid, "stat")); serr == nil {
			return "", nil
		}
	}
	return "", wrap(pid, "exe", err)
}

// Auxv returns the auxiliary vector as the kernel keeps it: pairs of words in
// the target's own word size, ended by AT_NULL.
func Auxv(pid int) ([]byte, error) { return readWhole(pid, "auxv", maxSmall) }

// CoredumpFilter returns the bit mask of core(5) that says which kinds of
// mappings belong into a core dump; 0x33 is the kernel's default.
func CoredumpFilter(pid int) (uint64, error) {
	b, err := readWhole(pid, "coredump_filter", maxSmall)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("pid %d: coredump_filter: %q is no hexadecimal number", pid, b)
	}
	return v, nil
}
