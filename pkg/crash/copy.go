package crash

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// errFull says that there is no more room for a core, on the disk or by a limit.
var errFull = errors.New("no room")

const (
	chunk = 1 << 20
	page  = 4096
)

// bounded writes at offsets until limit bytes are written; 0 is no limit.
type bounded struct {
	io.WriterAt
	limit   int64
	written int64
}

func (b *bounded) WriteAt(p []byte, at int64) (int, error) {
	if b.limit > 0 && b.written+int64(len(p)) > b.limit {
		return 0, errFull
	}
	n, err := b.WriterAt.WriteAt(p, at)
	b.written += int64(n)
	return n, err
}

// patient reads from a file that can be waited for, such as a pipe, so long at a
// time; then the error wraps os.ErrDeadlineExceeded. From others it just reads.
type patient struct {
	*os.File
	limit time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(p.limit))
	return p.File.Read(b)
}

// copySparse copies all that r brings to w, from the offset at on; pages of
// zeroes are left out. end is where r ended, or the error struck.
func copySparse(w io.WriterAt, r io.Reader, at int64) (end int64, err error) {
	buf := make([]byte, chunk)
	for {
		// Pages begin at multiples of their size in the core.
		want := chunk - at%page
		n, err := io.ReadFull(r, buf[:want])
		if werr := storeSparse(w, buf[:n], at); werr != nil {
			return at, werr
		}
		at += int64(n)
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return at, nil
		case err != nil:
			return at, err
		}
	}
}

var zeroes [page]byte

// storeSparse writes the runs of pages of b, which begins at the offset at, that
// are not all zero.
func storeSparse(w io.WriterAt, b []byte, at int64) error {
	for len(b) > 0 {
		n := 0
		for n < len(b) && !blank(b[n:pageEnd(b, at, n)]) {
			n = pageEnd(b, at, n)
		}
		if n > 0 {
			if _, err := w.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		if n < len(b) {
			n = pageEnd(b, at, n) // the blank one
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// pageEnd is where the page of b[i] ends in b.
func pageEnd(b []byte, at int64, i int) int {
	return min(len(b), i+int(page-(at+int64(i))%page))
}

func blank(p []byte) bool { return bytes.Equal(p, zeroes[:len(p)]) }

// full says whether err means that the disk, or the user's part of it, is full.
func full(err error) bool {
	return errors.Is(err, errFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
