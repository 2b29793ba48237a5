package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// slots is how many machines of a user run at a time, whatever number of test
// processes want some: each fills a processor.
const slots = 2

// slot waits for a free place. It must be given back.
func slot(ctx context.Context) (free func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	for {
		for n := range slots {
			f, err := os.OpenFile(filepath.Join(cache, fmt.Sprintf("slot%d.lock", n)), os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				return nil, err
			}
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if err == nil {
				return func() { _ = f.Close() }, nil
			}
			_ = f.Close()
			if !errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
