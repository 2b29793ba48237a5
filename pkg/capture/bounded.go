package capture

import (
	"errors"
	"sync/atomic"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/spool"
)

// bounded is an Output to a file, where unwritten parts are holes, that leaves
// the file system some free space.
type bounded struct {
	*spool.File
	keep    int64 // bytes that have to stay free
	written atomic.Int64
}

// checkEvery is after how many bytes the free space is looked at again.
const checkEvery = 8 << 20

func newBounded(f *spool.File, keep int64) (*bounded, error) {
	b := &bounded{File: f, keep: keep}
	return b, b.check()
}

func (b *bounded) check() error {
	if b.keep == 0 {
		return nil
	}
	free, err := b.Free()
	if err != nil {
		return err
	}
	if free < b.keep {
		return fmt.Errorf("%w: %d MiB are free, %d MiB have to stay so", errFull, free>>20, b.keep>>20)
	}
	return nil
}

func (b *bounded) SetSize(size int64) error { return b.Truncate(size) }

func (b *bounded) Ordered() bool { return false }

func (b *bounded) WriteAt(p []byte, at int64) (int, error) {
	now := b.written.Add(int64(len(p)))
	if now/checkEvery != (now-int64(len(p)))/checkEvery {
		if err := b.check(); err != nil {
			return 0, err
		}
	}
	n, err := b.File.WriteAt(p, at)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", errFull, err)
	}
	return n, err
}
