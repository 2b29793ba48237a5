package capture

import (
	"errors"
	"sync"
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
	sure    atomic.Int64 // as many may be written before the free space is looked at again
	looking sync.Mutex
}

const (
	checkEvery = 8 << 20                // bytes, at most
	underWay   = maxCopiers * batchSize // bytes that others write right now
)

func newBounded(f *spool.File, keep int64) (*bounded, error) {
	b := &bounded{File: f, keep: keep}
	return b, b.check()
}

func (b *bounded) check() error {
	if b.keep == 0 {
		return nil
	}
	_, err := b.room(0)
	return err
}

// room is how much may be written, besides n bytes and what must stay free.
func (b *bounded) room(n int64) (int64, error) {
	free, err := b.Free()
	if err != nil {
		return 0, err
	}
	if free-n < b.keep {
		return 0, fmt.Errorf("%w: %d MiB are free, %d MiB have to stay so", errFull, free>>20, b.keep>>20)
	}
	return free - n - b.keep, nil
}

// spend says whether n more bytes may be written, now in all. It looks the more
// often, the less room there is.
func (b *bounded) spend(n, now int64) error {
	if b.keep == 0 || now <= b.sure.Load() {
		return nil
	}
	b.looking.Lock()
	defer b.looking.Unlock()
	left, err := b.room(n + underWay)
	if err == nil {
		b.sure.Store(now + min(left/2, checkEvery))
	}
	return err
}

func (b *bounded) SetSize(size int64) error { return b.Truncate(size) }

func (b *bounded) Ordered() bool { return false }

func (b *bounded) WriteAt(p []byte, at int64) (int, error) {
	if err := b.spend(int64(len(p)), b.written.Add(int64(len(p)))); err != nil {
		return 0, err
	}
	n, err := b.File.WriteAt(p, at)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", errFull, err)
	}
	return n, err
}
