package ptrace

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// SiginfoSize is the size of siginfo_t on every Linux.
const SiginfoSize = 128

// ptrace is for the requests whose last argument x/sys does not pass on.
func ptrace(request, tid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Filtered says whether a seccomp filter refuses ptrace(2) to this program: the
// kernel looks for the thread first, and there is none with the id 0.
func Filtered() bool {
	err := ptrace(unix.PTRACE_DETACH, 0, 0, 0)
	return err != nil && !errors.Is(err, unix.ESRCH)
}

// Regset reads the register set of a stopped thread that a core file keeps in a
// note of the given type, and returns the part of buf that was filled. A set
// that this machine does not have gives unix.EINVAL or unix.ENODEV.
func (t *Thread) Regset(note uint32, buf []byte) ([]byte, error) {
	n, err := t.regset(unix.PTRACE_GETREGSET, note, buf)
	if err != nil {
		return nil, fmt.Errorf("thread %d: register set %#x: %w", t.TID, note, err)
	}
	return buf[:n], nil
}

func (t *Thread) regset(request int, note uint32, buf []byte) (int, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(buf)}
	iov.SetLen(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(t.TID), uintptr(note), uintptr(unsafe.Pointer(&iov)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(iov.Len), nil
}

const ptraceGetSigmask = 0x420a // PTRACE_GETSIGMASK; +1 sets it

// Held reads the signals that a stopped thread blocks; bit n-1 is signal n.
func (t *Thread) Held() (mask uint64, err error) {
	err = t.sigmask(ptraceGetSigmask, &mask)
	return mask, err
}

func (t *Thread) sigmask(request int, mask *uint64) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(t.TID), unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("thread %d: signal mask: %w", t.TID, errno)
	}
	return nil
}

// Siginfo reads the siginfo_t of the signal that is being delivered; it is all
// zero, but for the number of a stopping signal, where there is none.
func (t *Thread) Siginfo() ([SiginfoSize]byte, error) {
	if t.deliver == 0 {
		return [SiginfoSize]byte{byte(t.Signal)}, nil
	}
	return siginfo(t.TID)
}

func siginfo(tid int) (info [SiginfoSize]byte, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(tid), 0, uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return info, fmt.Errorf("thread %d: siginfo: %w", tid, errno)
	}
	return info, nil
}
