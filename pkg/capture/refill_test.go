package capture

import (
	"errors"
	"os"
	"testing"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
)

func TestAwait(t *testing.T) {
	var steps int64
	still := func() int64 { return steps }
	if err := await(make(chan error), 50*time.Millisecond, still); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing moves: %v", err)
	}
	// As long as it moves it is waited for, many times patience.
	done := make(chan error, 1)
	moves := func() int64 {
		if steps++; steps == 100 {
			done <- errGone
		}
		return steps
	}
	if err := await(done, 100*time.Millisecond, moves); err != errGone {
		t.Errorf("it moves: %v", err)
	}
}

var errGone = errors.New("gone")

// What may not come is asked for when everything else is there.
func TestRemainsFilesLast(t *testing.T) {
	r := &Remains{maps: []procfs.Mapping{
		{Start: 0x1000, End: 0x3000, Perm: "rw-p", Inode: 7, Name: "/file"},
		{Start: 0x3000, End: 0x5000, Perm: "rw-p"},
		{Start: 0x5000, End: 0x7000, Perm: "rw-s", Inode: 8, Name: "/shared"},
	}}
	var segments []corefile.Segment
	for _, m := range r.maps {
		segments = append(segments, corefile.Segment{Address: m.Start, FileSize: m.Size()})
	}
	img := r.image(segments)
	if len(img.segments) != 3 || img.segments[0].Address != 0x3000 || img.segments[1].Address != 0x5000 || img.segments[2].Address != 0x1000 ||
		img.extents[1] != populated || img.extents[2] != everything || img.maps[2].Name != "/file" {
		t.Errorf("%+v", img)
	}
}
