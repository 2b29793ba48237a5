package capture

import (
	"context"
	"io"

	"vigil/pkg/fmt"
)

// stream is an Output to something that cannot seek: gaps are written as zeroes.
type stream struct {
	w    io.Writer
	at   int64
	size int64
	zero []byte
}

func (s *stream) Ordered() bool { return true }

func (s *stream) SetSize(size int64) error {
	s.size = size
	return nil
}

func (s *stream) WriteAt(b []byte, at int64) (int, error) {
	if err := s.fill(at); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	s.at += int64(n)
	return n, err
}

// fill writes zeroes up to an offset.
func (s *stream) fill(to int64) error {
	if to < s.at {
		return fmt.Errorf("core: offset %#x is behind the stream", to)
	}
	for s.at < to {
		n, err := s.w.Write(s.zero[:min(int64(len(s.zero)), to-s.at)])
		s.at += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// Stream captures t and writes the core to w, holes as zeroes. The target
// stands until the reader behind w has taken all of its memory; only the zeroes
// at the end are written after it went on.
func (t *Target) Stream(ctx context.Context, w io.Writer, opt Options) (*Report, error) {
	s := &stream{w: w, zero: make([]byte, 64<<10)}
	r, err := t.Capture(ctx, s, opt)
	if err == nil {
		err = s.fill(s.size)
	}
	if err != nil {
		return nil, objectFirst(err)
	}
	return r, nil
}
