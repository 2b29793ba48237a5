package spool

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// However many crashes come, so many are looked into, and so many wait; the others
// are told at once.
func TestQueue(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var at, most, refused atomic.Int64
	hold := make(chan struct{})
	var all sync.WaitGroup
	const crashes = queued + 10
	for range crashes {
		all.Go(func() {
			leave, err := Queue(dir)
			if errors.Is(err, ErrBusy) {
				refused.Add(1)
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			n := at.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-hold
			at.Add(-1)
			if err := leave(); err != nil {
				t.Error(err)
			}
		})
	}
	for refused.Load() < crashes-queued && !t.Failed() {
		runtime.Gosched()
	}
	for range queued {
		hold <- struct{}{}
	}
	all.Wait()
	if most.Load() > working || refused.Load() != crashes-queued {
		t.Errorf("%d at once, %d refused", most.Load(), refused.Load())
	}
	leave, err := Queue(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
}
