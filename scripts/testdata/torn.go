// Command torn looks for records that were read half-written and taken for whole.
//
//	torn DIR READS
//
// A writer overwrites one file without a pause, while others read it as a watcher
// does. All numbers of a record are the same, so a mixed one shows. It prints how
// many reads took a record, how many found one half-written, and how many took
// one that was mixed; that is its failure.
package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: torn DIR READS")
	}
	reads, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	path := filepath.Join(os.Args[1], "torn"+heartbeat.Suffix)
	f, err := heartbeat.OpenFile(path)
	if err != nil {
		fail(err)
	}
	write(f, 1)
	done := make(chan struct{})
	go func() {
		for n := int64(2); ; n += 7 {
			select {
			case <-done:
				return
			default:
				write(f, n)
			}
		}
	}()
	var all counts
	var mu sync.Mutex
	var readers sync.WaitGroup
	workers := max(1, runtime.NumCPU()-1)
	for range workers {
		readers.Go(func() {
			c := read(path, (reads+workers-1)/workers)
			mu.Lock()
			defer mu.Unlock()
			all.good, all.half, all.mixed = all.good+c.good, all.half+c.half, all.mixed+c.mixed
		})
	}
	readers.Wait()
	close(done)
	fmt.Println(all.good, all.half, all.mixed)
	if all.mixed > 0 {
		os.Exit(1)
	}
}

func fail(a ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"torn:"}, a...)...)
	os.Exit(111)
}

func write(f *heartbeat.File, n int64) {
	r := heartbeat.Record{
		ID: "torn", PID: int(n), Boot: boot(n), StartMS: n, Seq: uint64(n), TSMS: n, BTMS: n, IntervalMS: n, TTLMS: n,
		Status: heartbeat.Status(n % 3), LateMS: n, GapMaxMS: n, Msg: strings.Repeat("x", int(n%64)), CRC: true,
	}
	if err := f.Write(&r); err != nil {
		fail(err)
	}
}

// boot is n in 32 digits.
func boot(n int64) string {
	digits := strconv.FormatInt(n, 16)
	return strings.Repeat("0", 32-len(digits)) + digits
}

func bootIs(boot string, n int64) bool {
	have, err := strconv.ParseInt(boot, 16, 64)
	return err == nil && have == n
}

type counts struct{ good, half, mixed int }

func read(path string, reads int) (c counts) {
	dir, err := rundir.Open(filepath.Dir(path))
	if err != nil {
		fail(err)
	}
	defer dir.Close()
	var reader heartbeat.Reader
	var r heartbeat.Record
	var terms heartbeat.Terms
	for range reads {
		switch err := reader.Read(dir, "torn", &terms, &r); {
		case err != nil:
			if rej, ok := err.(*heartbeat.Reject); !ok || !rej.Transient() {
				fail(err)
			}
			c.half++
		case whole(&r):
			c.good++
		default:
			c.mixed++
		}
	}
	return c
}

// whole tells whether all numbers are that of one beat.
func whole(r *heartbeat.Record) bool {
	n := r.BTMS
	return n < math.MaxInt32 && r.PID == int(n) && bootIs(r.Boot, n) && r.StartMS == n && r.Seq == uint64(n) && r.TSMS == n &&
		r.IntervalMS == n && r.TTLMS == n && r.Status == heartbeat.Status(n%3) && r.LateMS == n && r.GapMaxMS == n
}
