package watchdog

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepUntil sleeps until CLOCK_BOOTTIME is at. An absolute sleep does not add up
// lateness, and one on the thread itself does not wait for Go's scheduler.
func sleepUntil(at time.Duration) {
	ts := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_BOOTTIME, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
