// Command ticker is a target for captures: it fills memory, keeps threads
// asleep, and measures from the inside how long it was stopped.
//
//	ticker MIB THREADS [WRITES [thp]]
//
// A thread writes WRITES random pages a second; with thp the memory is asked to
// lie in huge pages. It prints a line when ready; at each SIGUSR1 it prints the longest gap
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
	"unsafe"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ticker MIB THREADS [WRITES [thp]]")
		os.Exit(100)
	}
	mib, _ := strconv.Atoi(os.Args[1])
	threads, _ := strconv.Atoi(os.Args[2])
	writes, huge := 0, len(os.Args) > 4
	if len(os.Args) > 3 {
		writes, _ = strconv.Atoi(os.Args[3])
	}
	mem, err := fill(mib, huge)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ticker: memory:", err)
		os.Exit(111)
	}
	if writes > 0 {
		go write(mem, writes)
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

// fill gives memory without a page that is zero or like another one.
func fill(mib int, huge bool) ([]byte, error) {
	const align = 2 << 20
	mem, err := syscall.Mmap(-1, 0, mib<<20+align, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	mem = mem[-int(uintptr(unsafe.Pointer(&mem[0])))&(align-1):][:mib<<20]
	advice := syscall.MADV_NOHUGEPAGE
	if huge {
		advice = syscall.MADV_HUGEPAGE
	}
	_ = syscall.Madvise(mem, advice) // a kernel without huge pages has one kind only
	x := uint64(88172645463325252)
	for i := 0; i+8 <= len(mem); i += 8 { // xorshift
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		for k := range 8 {
			mem[i+k] = byte(x >> (8 * k))
		}
	}
	return mem, nil
}

// write writes a word of so many random pages a second, a hundredth of them at a
// time.
func write(mem []byte, perSecond int) {
	runtime.LockOSThread()
	x := uint64(88172645463325252)
	for next := time.Now(); ; {
		for range max(perSecond/100, 1) {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			mem[x%uint64(len(mem)/4096)*4096]++
		}
		next = next.Add(10 * time.Millisecond)
		ts := syscall.NsecToTimespec(max(time.Until(next), 0).Nanoseconds())
		_ = syscall.Nanosleep(&ts, nil)
	}
}
