package boottime

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm sleeps in one system call. Go's timers wake two threads or three for each
// sleep, some of them twice: poll(2) of theirs counts in milliseconds. For one
// goroutine.
type Alarm struct {
	done <-chan struct{}
	fd   [1]unix.PollFd
}

// NewAlarm makes one that is ended by done, and woken by each token from ring,
// which may be nil. Its descriptor stays open.
func NewAlarm(done, ring <-chan struct{}) (*Alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	go func() {
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			case <-ring:
			}
			one := uint64(1)
			_, _ = unix.Write(fd, counter(&one))
		}
	}()
	return &Alarm{done, [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}}, nil
}

// counter is what an eventfd reads and writes.
func counter(n *uint64) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(n)), unsafe.Sizeof(*n)) }

// Sleep waits for d, a token or the end; rung tells that it was not d. It may
// end early without: look at the clock.
func (a *Alarm) Sleep(d time.Duration) (rung bool) {
	select {
	case <-a.done:
		return true
	default:
	}
	runtime.Gosched() // who has something to do does it now
	ts := unix.NsecToTimespec(max(int64(d), 0))
	n, err := unix.Ppoll(a.fd[:], &ts, nil)
	if err != nil || n == 0 {
		return false
	}
	var count uint64
	_, _ = unix.Read(int(a.fd[0].Fd), counter(&count))
	return true
}
