package capture

import (
	"io"
	"slices"

	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
)

// image is the memory of a process as its core shows it: segments, for each the
// mapping that it lies in, and how much of it to keep. A mapping may be shown by
// several segments.
type image struct {
	segments []corefile.Segment
	maps     []procfs.Mapping // of the same index
	extents  []extent
}

func (img *image) add(s corefile.Segment, m procfs.Mapping, e extent) {
	img.segments = append(img.segments, s)
	img.maps = append(img.maps, m)
	img.extents = append(img.extents, e)
}

// newImage decides about every mapping. mem is asked for the first bytes of
// those that may begin with the header of an ELF file.
func newImage(maps []procfs.Mapping, filter uint64, mem io.ReaderAt) *image {
	img := &image{}
	for _, m := range maps {
		if m.Name == "[vsyscall]" {
			continue // above all addresses a process can have
		}
		e := keep(m, filter)
		if e == header && !startsELF(mem, m.Start) {
			e = nothing
		}
		s := corefile.Segment{Address: m.Start, MemSize: m.Size(), Flags: flags(m)}
		switch e {
		case header:
			s.FileSize = min(procfs.PageSize, s.MemSize)
		case populated, everything:
			s.FileSize = s.MemSize
		}
		img.add(s, m, e)
	}
	return img
}

// expected is how many bytes the copy will find, by what smaps counted.
func (img *image) expected() (n int64) {
	for i, s := range img.segments {
		m := img.maps[i]
		if img.extents[i] == populated && s.FileSize == m.Size() {
			n += int64(min(m.RSS+m.Swap, s.FileSize))
		} else {
			n += int64(s.FileSize)
		}
	}
	return n
}

// stackTop is how much of a stack is kept before anything else.
const stackTop = 256 << 10

// stackTops is the part of img around the stack pointers.
func (img *image) stackTops(sps []uint64) *image {
	tops := &image{}
	for _, sp := range sps {
		i, _ := slices.BinarySearchFunc(img.segments, sp, func(s corefile.Segment, sp uint64) int {
			if s.Address+s.FileSize <= sp {
				return -1
			}
			return 1
		})
		if i == len(img.segments) || img.segments[i].Address > sp || img.maps[i].Shared() {
			continue
		}
		s := img.segments[i]
		start := sp &^ (procfs.PageSize - 1)
		s.Offset += start - s.Address
		s.FileSize = min(stackTop, s.Address+s.FileSize-start)
		s.Address = start
		tops.add(s, img.maps[i], img.extents[i])
	}
	return tops
}

// shared lists what other processes can write while it is copied, stopped or
// not, forked or not.
func (img *image) shared() (regions []Region) {
	for i, s := range img.segments {
		if m := img.maps[i]; s.FileSize > 0 && m.Shared() {
			regions = append(regions, Region{m.Start, m.End, m.Name})
		}
	}
	return regions
}

func startsELF(mem io.ReaderAt, addr uint64) bool {
	var b [4]byte
	_, err := mem.ReadAt(b[:], int64(addr))
	return err == nil && string(b[:]) == "\x7fELF"
}

// populace tells which pages exist; procfs.Pages does.
type populace interface {
	Present(start, end uint64, visit func(start, end uint64) error) error
	Backed(m procfs.Mapping, visit func(start, end uint64) error) error
}

// plan hands out the pieces to copy, in the order of the core. What cannot be
// seen is counted as unread.
func (img *image) plan(pages populace, c *copier, add func(piece) error) error {
	for i, s := range img.segments {
		if s.FileSize == 0 {
			continue
		}
		m := img.maps[i]
		visit := func(start, end uint64) error {
			return add(piece{addr: start, size: end - start, at: s.Offset + start - s.Address, gentle: forked(m)})
		}
		var err error
		switch {
		case img.extents[i] != populated:
			err = visit(s.Address, s.Address+s.FileSize)
		case s.Address != m.Start || s.FileSize != m.Size():
			err = pages.Present(s.Address, s.Address+s.FileSize, visit)
		case m.Shared() && m.Inode != 0 && !m.Has("ht"): // hugetlbfs does not tell its holes
			err = backed(pages, m, c, visit)
		default:
			err = pages.Present(m.Start, m.End, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// backed visits the pages of shared memory that hold data, whoever wrote them.
// Where those cannot be asked for, because the right is missing, because the file
// is one that cannot be opened (that of an AIO ring), or because the mapping is gone
// by now, only the pages count that the target itself has touched: to read the
// others would fill the holes between them with memory, on the bill of the target.
func backed(pages populace, m procfs.Mapping, c *copier, visit func(start, end uint64) error) error {
	unseen := m.Size()
	var failed error
	count := func(start, end uint64) error {
		unseen -= end - start
		failed = visit(start, end)
		return failed
	}
	err := pages.Backed(m, count)
	if err == nil || failed != nil {
		return failed
	}
	if unseen == m.Size() {
		err = pages.Present(m.Start, m.End, count)
	}
	c.unread.Add(int64(unseen))
	if failed != nil || unseen == m.Size() {
		return err
	}
	return nil
}
