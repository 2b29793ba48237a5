package capture

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/spool"
)

// The rules of testdata/sequence.c.
const (
	seqAnon, seqFiles, seqHuge = 10, 2, 1
	seqSlots                   = seqAnon + seqFiles + seqHuge
	seqMost                    = 128
	seqFilePages, seqHugePages = 64, 512
	seqWords                   = page / 8
)

func seqMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// content is what a page holds: the words of a step, zero, or its file's.
type content struct {
	step uint64 // 0: nothing was written since
	zero bool
}

// sequence replays the steps.
type sequence struct {
	done  uint64
	slots [seqSlots][]content
}

func newSequence() *sequence {
	s := &sequence{}
	for i := range s.slots {
		switch {
		case i < seqAnon:
			s.slots[i] = make([]content, seqMost)
		case i < seqAnon+seqFiles:
			s.slots[i] = make([]content, seqFilePages)
		default:
			s.slots[i] = make([]content, seqHugePages)
		}
	}
	return s
}

// seqStep is what a step does.
type seqStep struct {
	how, slot, page, count, size uint64
	same                         bool // a new mapping of the same size at the same place
}

func (s *sequence) read(seq uint64) (st seqStep) {
	r := seqMix(seq ^ 0xabcdef)
	st.how, st.slot = r%100, (r>>8)%seqSlots
	pages := uint64(len(s.slots[st.slot]))
	st.page, st.count = (r>>16)%pages, 1+(r>>32)%16
	if st.slot >= seqAnon && st.how >= 87 && st.how < 98 {
		st.how = 0
	}
	st.same = r>>56%3 == 0
	if st.slot >= seqAnon && st.how >= 80 && st.how < 87 && st.same {
		st.page, st.count = 0, pages
	}
	st.count = min(st.count, pages-st.page)
	st.size = 64 + (r>>40)%(seqMost-63)
	return st
}

func (s *sequence) apply(seq uint64) {
	st := s.read(seq)
	slot := s.slots[st.slot]
	switch {
	case st.how < 80:
		slot[st.page] = content{step: seq}
	case st.how < 87:
		for i := range st.count {
			slot[st.page+i] = content{}
		}
	case st.how < 90 && st.same:
		clear(slot)
	case st.how < 90:
		s.slots[st.slot] = make([]content, st.size)
	case st.how < 93:
	case st.how < 95:
		resized := make([]content, st.size)
		copy(resized, slot)
		s.slots[st.slot] = resized
	case st.how < 98:
	default:
		slot[st.page] = content{step: seq, zero: true}
	}
	s.done = seq
}

// word is word k of a page in its slot.
func (c content) word(slot, pageNo, k uint64) uint64 {
	switch {
	case c.zero:
		return 0
	case c.step != 0:
		return seqMix(c.step<<10 | k)
	case slot >= seqAnon && slot < seqAnon+seqFiles:
		return seqMix(pageNo<<9 | k)
	}
	return 0
}

// check compares a core with what the number in it says. A step that was under
// way must be seen as far as it had come, and no further.
func (s *sequence) check(t *testing.T, f *loadedCore, control uint64) (steps, refused uint64) {
	t.Helper()
	head := f.page(control)
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(head[8*i:]) }
	begun, done := at(0), at(1)
	if begun != done && begun != done+1 || done < s.done {
		t.Fatalf("begun %d, done %d, before %d", begun, done, s.done)
	}
	before := s.done
	for s.done < done {
		s.apply(s.done + 1)
	}
	var now seqStep
	if begun != done {
		now = s.read(begun)
	}
	for i := range uint64(seqSlots) {
		if begun != done && now.slot == i && now.how >= 80 && now.how < 98 && now.how != 95 {
			continue // its addresses change right now, or its pages go one by one
		}
		addr, pages := at(2+2*int(i)), at(3+2*int(i))
		if pages != uint64(len(s.slots[i])) {
			t.Fatalf("step %d: slot %d has %d pages, want %d", done, i, pages, len(s.slots[i]))
		}
		for p, c := range s.slots[i] {
			got := f.page(addr + uint64(p)*page)
			if got == nil && c.step == 0 {
				continue // of a file that was not written to, or never touched
			} else if got == nil {
				got = make([]byte, page)
			}
			next := c
			if begun != done && now.slot == i && now.page == uint64(p) && (now.how < 80 || now.how >= 98) {
				next = content{step: begun, zero: now.how >= 98}
			}
			if err := comparePage(got, c, next, i, uint64(p)); err != nil {
				t.Fatalf("step %d (begun %d): slot %d, page %d at %#x: %v", done, begun, i, p, addr+uint64(p)*page, err)
			}
		}
	}
	return done - before, at(2 + 2*seqSlots)
}

// loadedCore is a core that is looked at page by page.
type loadedCore struct {
	b        []byte
	segments []elf.ProgHeader // ascending
}

func loadCore(t *testing.T, file io.ReaderAt, size int64) *loadedCore {
	t.Helper()
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	l := &loadedCore{b: b}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			l.segments = append(l.segments, p.ProgHeader)
		}
	}
	return l
}

// page is one that the core keeps, or nil.
func (l *loadedCore) page(addr uint64) []byte {
	i, _ := slices.BinarySearchFunc(l.segments, addr, func(p elf.ProgHeader, addr uint64) int {
		if p.Vaddr+p.Memsz <= addr {
			return -1
		}
		return 1
	})
	if i == len(l.segments) || addr < l.segments[i].Vaddr || addr+page > l.segments[i].Vaddr+l.segments[i].Filesz {
		return nil
	}
	at := l.segments[i].Off + addr - l.segments[i].Vaddr
	return l.b[at : at+page]
}

// comparePage wants the words of next up to some point and of c behind it.
func comparePage(b []byte, c, next content, slot, pageNo uint64) error {
	k := uint64(0)
	for ; k < seqWords && binary.LittleEndian.Uint64(b[8*k:]) == next.word(slot, pageNo, k); k++ {
	}
	for ; k < seqWords; k++ {
		if got, want := binary.LittleEndian.Uint64(b[8*k:]), c.word(slot, pageNo, k); got != want {
			return fmt.Errorf("word %d is %#x, want %#x of step %d", k, got, want, c.step)
		}
	}
	return nil
}

// sequenceRuns is how many cores of each mode are checked byte by byte.
var sequenceRuns = map[string]int{"precopy": 100, "fork": 30, "stop": 10}

func TestEveryByte(t *testing.T) {
	gate.Need(t, "gcc", "ptrace")
	dir := t.TempDir()
	path := filepath.Join(dir, "sequence")
	if out, err := exec.Command("gcc", "-O1", "-g", "-pthread", "-o", path, "testdata/sequence.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	for mode, runs := range sequenceRuns {
		t.Run(mode, func(t *testing.T) {
			if mode != "stop" {
				gate.Need(t, "precopy")
			}
			l := launch(t, exec.Command(path, filepath.Join(dir, "file")))
			var control, size uint64
			if _, err := fmt.Sscanf(l.lines[0], "control %x %x", &control, &size); err != nil {
				t.Fatal(err)
			}
			s := newSequence()
			for run := range runs {
				target, err := Open(l.pid, false)
				if err != nil {
					t.Fatal(err)
				}
				// A file that gets no name: the test is not about the disk.
				file, err := spool.Create(filepath.Join(dir, mode+".core"))
				if err != nil {
					t.Fatal(err)
				}
				r, err := target.Capture(context.Background(), &bounded{File: file}, Options{Mode: mode})
				target.Close()
				if err != nil {
					t.Fatalf("run %d: %v", run, err)
				}
				steps, refused := s.check(t, loadCore(t, file, r.Size), control)
				file.Discard()
				if testing.Verbose() && run%10 == 0 {
					t.Logf("run %d: %d steps, %d moves refused, %v, %s", run, steps, refused, r.Pause, r.Reason)
				}
			}
		})
	}
}
