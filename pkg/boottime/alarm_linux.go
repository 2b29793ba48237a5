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
	fd [1]unix.PollFd
}

// NewAlarm makes one that is ended by done. Its descriptor stays open.
func NewAlarm(done <-chan struct{}) (*Alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	a := &Alarm{fd: [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}}
	go func() {
		<-done
		one := uint64(1)
		_, _ = unix.Write(fd, unsafe.Slice((*byte)(unsafe.Pointer(&one)), unsafe.Sizeof(one)))
	}()
	return a, nil
}

// Sleep waits for d, or until done is closed. It may end early: look at the
// clock, and at done.
func (a *Alarm) Sleep(d time.Duration) {
	runtime.Gosched() // who has something to do does it now
	ts := unix.NsecToTimespec(max(int64(d), 0))
	_, _ = unix.Ppoll(a.fd[:], &ts, nil)
}
