package capture

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"sort"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// Remains is the memory of a process that will not run any more: one that the
// kernel keeps while its core is taken. Its descriptors are bound to that memory,
// whoever bears the pid later. The caller closes it.
type Remains struct {
	procSource
	maps []procfs.Mapping
}

// OpenRemains opens the memory of pid. Afterwards the caller makes sure that pid
// was still that of the process it means.
func OpenRemains(pid int) (*Remains, error) {
	s, err := openSource(pid)
	if err != nil {
		return nil, err
	}
	maps, err := procfs.ReadSmaps(pid)
	if err == nil && len(maps) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return &Remains{s, maps}, nil
}

// Refilled says what Refill has copied.
type Refilled struct {
	Bytes    int64 // of data, holes left out
	Unread   int64 // bytes that could not be read
	LeftOut  int64 // bytes for which the limit had no room
	Shared   []Region
	BuildIDs []BuildID
}

// Refill copies into out what the segments of a core keep, at their offsets.
// Those segments, the kernel's, are mappings of the process, one each. Where
// limit, if it is not 0, is less than all that there is, stacks are kept first,
// then the smaller mappings: a backtrace needs all stacks and a little of many
// others. sps are the stack pointers of the threads.
//
// An error that wraps io.ErrUnexpectedEOF says that the process was killed
// meanwhile, one that wraps os.ErrDeadlineExceeded that nothing moved for
// patience: a page of a file that its server or disk does not give can be waited
// for without end. The memory is incomplete then.
func (r *Remains) Refill(ctx context.Context, segments []corefile.Segment, sps []uint64, limit int64, patience time.Duration, out Output) (Refilled, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what hangs writes nothing, should it ever go on
	img := r.image(segments)
	chosen, leftOut := img.within(limit, sps)
	f := Refilled{LeftOut: leftOut, Shared: chosen.shared()}
	c := newCopier(r, out)
	done := make(chan error, 1)
	ids := make(chan []BuildID, 1)
	go func() {
		err := c.run(ctx, buffers(out, min(runtime.GOMAXPROCS(0), maxCopiers)), func(add func(piece) error) error {
			return chosen.plan(r, c, add)
		})
		ids <- buildIDs(r.maps, r)
		done <- err
	}()
	err := await(done, patience, c.steps.Load)
	select {
	case f.BuildIDs = <-ids:
	default:
	}
	f.Bytes, f.Unread = c.written.Load(), c.unread.Load()
	return f, err
}

// await waits for done as long as steps grows within patience.
func await(done <-chan error, patience time.Duration, steps func() int64) error {
	tick := time.NewTicker(patience / stallLooks)
	defer tick.Stop()
	for seen, still := int64(-1), 0; still <= stallLooks; still++ {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		if n := steps(); n != seen {
			seen, still = n, 0
		}
	}
	return fmt.Errorf("memory: nothing came for %v: %w", patience, os.ErrDeadlineExceeded)
}

// image finds the mapping of each segment. One without is nothing that can be
// read any more, and that of the vsyscalls can be read by nobody: the kernel
// writes zeroes, too. What has to come from files is last: it may not come.
func (r *Remains) image(segments []corefile.Segment) *image {
	img, files := &image{}, &image{}
	for _, s := range segments {
		i, found := slices.BinarySearchFunc(r.maps, s.Address, func(m procfs.Mapping, a uint64) int { return cmp.Compare(m.Start, a) })
		if s.FileSize == 0 || !found || r.maps[i].Size() < s.FileSize || r.maps[i].Name == "[vsyscall]" {
			continue
		}
		if m := r.maps[i]; m.Shared() || m.Inode == 0 && m.Name != "[vdso]" {
			img.add(s, m, populated)
		} else {
			files.add(s, m, everything)
		}
	}
	for i, s := range files.segments {
		img.add(s, files.maps[i], files.extents[i])
	}
	return img
}

// within is the part of img that has room within limit bytes, 0 for all.
func (img *image) within(limit int64, sps []uint64) (part *image, leftOut int64) {
	if limit == 0 || img.expected() <= limit {
		return img, 0
	}
	order := make([]int, len(img.segments))
	size := make([]int64, len(img.segments))
	for i := range order {
		one := image{segments: img.segments[i : i+1], maps: img.maps[i : i+1], extents: img.extents[i : i+1]}
		order[i], size[i] = i, one.expected()
		if slices.ContainsFunc(sps, func(sp uint64) bool { return img.maps[i].Start <= sp && sp < img.maps[i].End }) {
			size[i] -= 1 << 62 // before all others
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return size[order[i]] < size[order[j]] })
	part = &image{}
	for _, i := range order {
		n := size[i] &^ (-1 << 62)
		if n > limit {
			leftOut += n
			continue
		}
		limit -= n
		part.add(img.segments[i], img.maps[i], img.extents[i])
	}
	return part, leftOut
}

// Killed says whether err of Refill is that of a process that was killed meanwhile.
func Killed(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

// StackPointer is that of a thread by the general registers in its NT_PRSTATUS.
func StackPointer(regs []byte) (sp uint64, ok bool) {
	if len(regs) < regSP+8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(regs[regSP:]), true
}
