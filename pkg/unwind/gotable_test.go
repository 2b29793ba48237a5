package unwind

import (
	"bytes"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// goFile is a file with a table of two functions of Go: f has a frame of 16
// bytes from its third byte on, top is the outermost.
func goFile(magic uint32) fakeFile { return goFileOf(magic, "f", "top") }

func goFileOf(magic uint32, inner, outer string) fakeFile {
	var tab []byte
	tab = le.AppendUint32(tab, magic)
	tab = append(tab, 0, 0, 1, 8)
	flagAt := 41
	if magic == go118 {
		flagAt = 37
	}
	const names, pcs, pcln = 72, 112, 128
	for _, v := range []uint64{2, 0, 0, names, 0, 0, pcs, pcln} {
		tab = le.AppendUint64(tab, v)
	}
	tab = append(tab, inner+"\x00"+outer+"\x00"...)
	tab = append(tab, make([]byte, pcs-len(tab))...)
	tab = append(tab, 2, 2, 32, 14, 0)
	tab = append(tab, make([]byte, pcln-len(tab))...)
	const first, second = 24, 24 + 44
	for _, v := range []uint32{0, first, 0x10, second, 0x20, 0} {
		tab = le.AppendUint32(tab, v)
	}
	for i, v := range []uint32{0, 0x10} {
		fn := make([]byte, 44)
		le.PutUint32(fn, v)
		le.PutUint32(fn[4:], uint32(i*(len(inner)+1)))
		if i == 1 {
			fn[flagAt] = flagTop
		}
		tab = append(tab, fn...)
	}
	return fakeFile{machine: amd64.id, text: make([]byte, 0x20), goTable: tab}
}

func TestGoFrames(t *testing.T) {
	for _, magic := range []uint32{go118, go120} {
		s := space(t, amd64, fakeModules{file: goFile(magic).bytes()})
		stack := []Piece{{stackAt, words(0, 0, at(0x15))}}
		for pc, sp := range map[uint64]uint64{0: stackAt + 16, 1: stackAt + 16, 2: stackAt, 5: stackAt} {
			got, _, _ := bytes.Cut([]byte(show(s, s.Unwind(regs(amd64, at(pc), map[int]uint64{7: sp}), stack, 9))), []byte(", "))
			rest := show(s, s.Unwind(regs(amd64, at(pc), map[int]uint64{7: sp}), stack, 9))
			if !bytes.Contains(got, []byte(" f+")) || !bytes.Contains([]byte(rest), []byte("400215 top+5, complete")) {
				t.Errorf("%x: %s", pc, rest)
			}
		}
		switching := goFile(magic)
		top := bytes.LastIndexByte(switching.goTable, flagTop)
		switching.goTable[top-44] = flagSPWrite // of f, which is before it
		s = space(t, amd64, fakeModules{file: switching.bytes()})
		for ra, want := range map[uint64]string{at(0x15): "400205 f+5, 400215 top+5, complete", at(3): "400205 f+5, 400203 f+3, stack_switch", 77: "400205 f+5, stack_switch"} {
			if got := show(s, s.Unwind(regs(amd64, at(5), map[int]uint64{7: stackAt}), []Piece{{stackAt, words(0, 0, ra)}}, 9)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		if got := show(s, s.Unwind(regs(amd64, at(0x11), nil), stack, 9)); got != "400211 top+1, complete" {
			t.Error(got)
		}
	}
}

// The handler of the runtime is the outermost of its stack, but not of the
// thread.
func TestGoSignal(t *testing.T) {
	f := goFileOf(go120, "f", "runtime.sigtramp")
	f.text = append(f.text, amd64.trampoline...)
	b := f.bytes()
	// The size of the second function's frame is that of the first: 16 from its third byte on.
	s := space(t, amd64, fakeModules{file: b})
	stack := words(0, 0, at(0x20))
	frame := make([]byte, amd64.context+8*len(amd64.contextOrder))
	le.PutUint64(frame[amd64.context+8*15:], stackAt+0x800)
	le.PutUint64(frame[amd64.context+8*16:], at(0))
	pieces := []Piece{{stackAt, append(stack, frame...)}, {stackAt + 0x800, words(0)}}
	got := show(s, s.Unwind(regs(amd64, at(0x12), map[int]uint64{7: stackAt}), pieces, 9))
	if want := "400212 runtime.sigtramp+2, 400220, 400200 f+0, complete"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The runtime of this very program is asked about each of its functions.
func TestGoTable(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	im := openImage(newWindow(), f, st.Size())
	if im == nil || im.goTab == nil {
		t.Fatal("no table")
	}
	bias := uint64(reflect.ValueOf(TestGoTable).Pointer()) - lookup(t, im, "vigil/pkg/unwind.TestGoTable")
	seen := 0
	for i := uint64(0); i < im.goTab.functions; i += 7 {
		c := cursor{b: im.goTab.read(im.goTab.pcln+8*i, 8)}
		addr := im.goTab.text + c.fixed(4)
		f, ok := im.goTab.find(addr)
		if !ok {
			continue
		}
		want := runtime.FuncForPC(uintptr(addr + bias))
		if want == nil || uint64(want.Entry()) != f.entry+bias {
			t.Fatalf("%x: %+v, %v", addr, f, want)
		}
		// FuncForPC gives the innermost of what was inlined there.
		if name := im.goTab.funcName(f); name == want.Name() {
			seen++
		}
		if p := im.goTab.plan(f, addr, machines[im.machine]); p == nil && strings.HasPrefix(want.Name(), "runtime.") {
			t.Errorf("%s: no plan", want.Name())
		}
	}
	if n := int(im.goTab.functions) / 7; seen < n*9/10 {
		t.Errorf("%d names of %d agree", seen, n)
	}
}

func lookup(t *testing.T, im *image, name string) uint64 {
	t.Helper()
	for i := range im.goTab.functions {
		c := cursor{b: im.goTab.read(im.goTab.pcln+8*i, 8)}
		if f, ok := im.goTab.find(im.goTab.text + c.fixed(4)); ok && im.goTab.funcName(f) == name {
			return f.entry
		}
	}
	t.Fatalf("no function %s", name)
	return 0
}
