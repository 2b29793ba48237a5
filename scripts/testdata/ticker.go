// Command ticker is a target for captures: it fills memory, keeps threads
// asleep, and measures from the inside how long it was stopped.
//
//	ticker MIB THREADS
//
// It prints a line when ready; at each SIGUSR1 it prints the longest gap
// between two ticks since the last one, in microseconds, and starts over.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ticker MIB THREADS")
		os.Exit(100)
	}
	mib, _ := strconv.Atoi(os.Args[1])
	threads, _ := strconv.Atoi(os.Args[2])
	mem := make([]byte, mib<<20)
	x := uint64(88172645463325252)
	for i := 0; i+8 <= len(mem); i += 8 { // xorshift: nothing to find twice, no zero page
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		for k := range 8 {
			mem[i+k] = byte(x >> (8 * k))
		}
	}
	for range threads {
		go func() {
			runtime.LockOSThread()
			for {
				ts := syscall.Timespec{Sec: 3600}
				_ = syscall.Nanosleep(&ts, nil)
			}
		}()
	}
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGUSR1)
	fmt.Println("ready")
	runtime.LockOSThread()
	var longest time.Duration
	for last := time.Now(); ; {
		ts := syscall.Timespec{Nsec: 200_000}
		_ = syscall.Nanosleep(&ts, nil)
		now := time.Now()
		longest = max(longest, now.Sub(last))
		last = now
		select {
		case <-ask:
			fmt.Println(longest.Microseconds())
			longest = 0
			runtime.KeepAlive(mem)
		default:
		}
	}
}
