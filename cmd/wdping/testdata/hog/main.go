// Hog takes what others need for a while: the processor, or more memory than
// there is.
//
//	hog cpu N TIME     N threads at nice -20 that never sleep
//	hog memory MB TIME so many megabytes, written again and again
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err == nil {
		var d time.Duration
		if d, err = time.ParseDuration(os.Args[3]); err == nil {
			end := time.Now().Add(d)
			err = map[string]func(int, time.Time) error{"cpu": cpu, "memory": memory}[os.Args[1]](n, end)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hog:", err)
		os.Exit(1)
	}
}

// cpu ends all its threads at the same moment: nothing else would get to end
// them while they run.
func cpu(threads int, end time.Time) error {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(threads + 1)
	var all sync.WaitGroup
	var failed error
	for range threads {
		all.Go(func() {
			runtime.LockOSThread()
			// The priority is the thread's.
			if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, -20); err != nil {
				failed = err
				return
			}
			for time.Now().Before(end) {
			}
		})
	}
	all.Wait()
	return failed
}

func memory(megabytes int, end time.Time) error {
	all, err := syscall.Mmap(-1, 0, megabytes<<20, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return err
	}
	for turn := byte(1); ; turn++ {
		for at := 0; at < len(all); at += os.Getpagesize() {
			if time.Now().After(end) {
				return nil
			}
			all[at] = turn
		}
	}
}
