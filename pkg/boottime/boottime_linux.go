// Package boottime tells the time by which vigil measures: CLOCK_BOOTTIME, which
// no clock step moves and which runs on while the machine is suspended
// (clock_gettime(2)). A reading means something only together with the boot id.
package boottime

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Now is the time since boot, suspend included.
func Now() time.Duration { return read(unix.CLOCK_BOOTTIME) }

// Clock gives the same time cheaply where it is asked for again and again.
type Clock struct {
	at   time.Duration
	then time.Time
}

// Now is boottime.Now, and what Soon counts from.
func (c *Clock) Now() time.Duration {
	c.at, c.then = Now(), time.Now()
	return c.at
}

// Soon is the time without a system call, which costs six times as much: by
// CLOCK_MONOTONIC since the last Now, so that a suspend since then is not seen.
func (c *Clock) Soon() time.Duration { return c.at + time.Since(c.then) }

// Suspended is the part of Now that the machine spent suspended; between two
// readings it grows only by a suspend.
func Suspended() time.Duration {
	for tries := 10; ; tries-- {
		before := read(unix.CLOCK_MONOTONIC)
		boot := read(unix.CLOCK_BOOTTIME)
		after := read(unix.CLOCK_MONOTONIC)
		// Else somebody else had the processor between two of them, or it was now.
		if after-before < time.Millisecond || tries == 0 {
			return boot - after
		}
	}
}

// Clocks without time(7) support do not exist on Linux since 2.6.39, so an
// error here means a broken sandbox; zero time would be judged as "no progress",
// which is the safe side. The call never waits, so Go's scheduler need not hear of
// it: it would wake a thread that watches for those that do.
func read(clock int32) time.Duration {
	var ts unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

const idFile = "/proc/sys/kernel/random/boot_id"

// ID is the kernel's random id of this boot as 32 hexadecimal digits
// (random(4)).
func ID() (string, error) {
	f, err := os.Open(idFile)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 64)
	n, err := f.Read(b)
	if err != nil {
		return "", err
	}
	var id []byte
	for _, c := range b[:n] {
		if c != '-' && c != '\n' {
			id = append(id, c)
		}
	}
	if len(id) != 32 {
		return "", fmt.Errorf("%s: want a uuid, have %d bytes", idFile, n)
	}
	return string(id), nil
}
