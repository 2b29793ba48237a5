package capture

import "time"

// What a mode costs the target, measured on a machine of 2020 with two CPUs; it
// is good for a comparison, not for a promise.
const (
	stopBase    = 1500 * time.Microsecond // to stop 50 threads and read their registers
	scanPerGiB  = 400 * time.Microsecond  // of memory that is followed, for one CPU
	copyPerPage = time.Microsecond
	forkPerGiB  = 22 * time.Millisecond // of memory in pages of 4 KiB: its page tables are copied
	forkPerHuge = time.Millisecond      // of memory in huge pages
)

func perGiB(size uint64, d time.Duration) time.Duration {
	return time.Duration(float64(size) / (1 << 30) * float64(d))
}

// precopyPause predicts the stop of a capture that follows size bytes, of which
// pages are written between the last round and the stop.
func precopyPause(size, pages uint64, scanners int) time.Duration {
	return stopBase + perGiB(size, scanPerGiB)/time.Duration(max(scanners, 1)) + time.Duration(pages)*copyPerPage
}

// forkPause predicts the stop of a fork.
func forkPause(small, huge uint64) time.Duration {
	return stopBase + perGiB(small, forkPerGiB) + perGiB(huge, forkPerHuge)
}
