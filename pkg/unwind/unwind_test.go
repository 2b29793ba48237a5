package unwind

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

const (
	loadAt  = 0x400000
	stackAt = 0x7ff000
)

// regs makes pr_reg of a machine.
func regs(m *machine, pc uint64, values map[int]uint64) []byte {
	b := make([]byte, 8*len(m.order))
	for i, column := range m.order {
		if column != none {
			le.PutUint64(b[8*i:], values[int(column)])
		}
	}
	le.PutUint64(b[8*m.pcWord:], pc)
	return b
}

func words(v ...uint64) (b []byte) {
	for _, x := range v {
		b = le.AppendUint64(b, x)
	}
	return b
}

func space(t *testing.T, m *machine, mods Modules) *Space {
	t.Helper()
	s, ok := NewSpace(Process{Machine: m.id, Modules: mods, Maps: []Mapping{
		{Start: 0x900000, End: 0x901000, Executable: true}, // of a JIT compiler
		{Start: loadAt, End: loadAt + 0x10000, Executable: true, Key: "x", Name: "/x"},
	}})
	if !ok {
		t.Fatal("machine not known")
	}
	return s
}

// show renders a stack as "pc name+offset, ... end".
func show(s *Space, st Stack) string {
	list := []Stack{st}
	s.Name(list)
	var b strings.Builder
	for _, f := range list[0].Frames {
		fmt.Fprintf(&b, "%x", f.PC)
		if f.Func != "" {
			fmt.Fprintf(&b, " %s+%d", f.Func, f.Offset-f.Start)
		}
		b.WriteString(", ")
	}
	return b.String() + string(list[0].End)
}

func at(off uint64) uint64 { return loadAt + textAt + off }

var functions = []fakeSymbol{
	{"f", textAt, 0x10, 0x12}, {"g", textAt + 0x10, 0x10, 0x12}, {"start", textAt + 0x20, 0x10, 0x12},
}

// amd64Frames: CFA = rsp+8 at the entry of f, rsp+16 behind its push; from
// start+8 on there is no caller.
func amd64Frames() []byte {
	b := frames("", 16, []byte{0x0c, 7, 8, 0x90, 1}, textAt, 0x20, []byte{0x41, 0x0e, 16, 0x86, 2})
	b = b[:len(b)-4]
	cie := le.Uint32(b)
	last := record(uint32(len(b)+4), append(le.AppendUint64(le.AppendUint64(nil, textAt+0x20), 0x10), 0x07, 16))
	if le.Uint32(last[4:]) != uint32(len(b)+4) || cie == 0 {
		panic("frames")
	}
	return append(append(b, last...), 0, 0, 0, 0)
}

func TestUnwind(t *testing.T) {
	file := fakeFile{machine: amd64.id, text: make([]byte, 0x40), ehFrame: amd64Frames(), symbols: functions}.bytes()
	copy(file[textAt+0x30:], amd64.trampoline)
	stack := words(0x1111, at(0x18), 0x2222, at(0x25), 0, 0)
	for _, c := range []struct {
		name  string
		pc    uint64
		regs  map[int]uint64
		stack []byte
		limit int
		want  string
	}{
		{"pushed", at(1), map[int]uint64{7: stackAt, 6: 5}, stack, 10, "400201 f+1, 400218 g+8, 400225 start+5, complete"},
		{"at entry", at(0), map[int]uint64{7: stackAt + 8}, stack, 10, "400200 f+0, 400218 g+8, 400225 start+5, complete"},
		{"limit", at(1), map[int]uint64{7: stackAt}, stack, 2, "400201 f+1, 400218 g+8, limit"},
		{"cut", at(1), map[int]uint64{7: stackAt}, stack[:24], 10, "400201 f+1, 400218 g+8, no_memory"},
		{"call to 0", 0, map[int]uint64{7: stackAt + 8}, stack, 10, "0, 400218 g+8, 400225 start+5, complete"},
		{"nowhere", 0x10, map[int]uint64{7: stackAt}, stack, 10, "10, no_rule"},
		{"frame pointer", 0x900010, map[int]uint64{7: stackAt, 6: stackAt + 8}, words(0, stackAt+0x100, at(0x25)), 10, "900010, 400225 start+5, complete"},
		{"frame pointer below", 0x900010, map[int]uint64{7: stackAt + 16, 6: stackAt + 8}, stack, 10, "900010, no_rule"},
		{"end of a call", at(0x20), map[int]uint64{7: stackAt}, stack, 10, "400220 start+0, complete"},
	} {
		s := space(t, amd64, fakeModules{file: file})
		if got := show(s, s.Unwind(regs(amd64, c.pc, c.regs), []Piece{{stackAt, c.stack}}, c.limit)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// g-1 is the last of f: what called it is looked up before the return address.
	s := space(t, amd64, fakeModules{file: file})
	if got, want := show(s, s.Unwind(regs(amd64, at(1), map[int]uint64{7: stackAt}), []Piece{{stackAt, words(0, at(0x10), 0, at(0x25))}}, 10)), "400201 f+1, 400210 f+16, 400225 start+5, complete"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A handler's frame is left by the code behind it, and with it the stack.
func TestSigreturn(t *testing.T) {
	for _, m := range []*machine{amd64, arm64} {
		file := fakeFile{machine: m.id, text: make([]byte, 0x40), symbols: []fakeSymbol{{"restore", textAt + 0x30, 0, 0x10}, {"start", textAt, 0x10, 0x12}}}
		file.ehFrame = frames("", byte(m.ra), []byte{0x07, byte(m.ra)}, textAt, 0x10, nil)
		b := file.bytes()
		copy(b[textAt+0x30:], m.trampoline)
		s := space(t, m, fakeModules{file: b})
		frame := make([]byte, m.context+8*len(m.contextOrder))
		sp := 0
		for i, column := range m.contextOrder {
			if int(column) == m.sp {
				sp = i
			}
		}
		le.PutUint64(frame[m.context+8*sp:], stackAt+0x1000)
		le.PutUint64(frame[m.context+8*(len(m.contextOrder)-1):], at(3))
		// uc_stack: the frame lies in it.
		uc := m.context + 8*sp - m.savedSP
		le.PutUint64(frame[uc+16:], stackAt-0x100)
		le.PutUint64(frame[uc+32:], 0x1000)
		piece := Piece{stackAt, frame}
		if got, want := show(s, s.Unwind(regs(m, at(0x30), map[int]uint64{m.sp: stackAt}), []Piece{piece}, 10)), "400230 restore+0, 400203 start+3, complete"; got != want {
			t.Errorf("machine %d: %s, want %s", m.id, got, want)
		}
		if sp, ok := Interrupted(m.id, piece); !ok || sp != stackAt+0x1000 {
			t.Errorf("machine %d: interrupted at %x, %v", m.id, sp, ok)
		}
		le.PutUint64(frame[uc+16:], stackAt+0x100) // another's
		if sp, ok := Interrupted(m.id, piece); ok {
			t.Errorf("machine %d: interrupted at %x", m.id, sp)
		}
	}
}

func TestContinues(t *testing.T) {
	stack := Piece{stackAt, words(0, stackAt+24, 0, stackAt+64, 0)}
	for fp, want := range map[uint64]bool{0: false, stackAt: false, stackAt + 8: true, stackAt + 24: true, stackAt + 39: true, stackAt + 32: false, stackAt + 400: true, ^uint64(7): true} {
		if got := Continues(arm64.id, regs(arm64, 0, map[int]uint64{29: fp}), stack); got != want {
			t.Errorf("from %x: %v", fp, got)
		}
	}
}

func TestLinkRegister(t *testing.T) {
	// f keeps its return address in x30, g has saved x29 and x30 at the bottom of 16 bytes.
	b := frames("", 30, []byte{0x0c, 31, 0}, textAt, 0x10, nil)
	b = b[:len(b)-4]
	for _, f := range [][]byte{
		append(le.AppendUint64(le.AppendUint64(nil, textAt+0x10), 0x10), 0x0e, 16, 0x9d, 2, 0x9e, 1, 0x2d),
		append(le.AppendUint64(le.AppendUint64(nil, textAt+0x20), 0x10), 0x07, 30),
	} {
		b = append(b, record(uint32(len(b)+4), f)...)
	}
	file := fakeFile{machine: arm64.id, text: make([]byte, 0x40), ehFrame: append(b, 0, 0, 0, 0), symbols: functions}.bytes()
	s := space(t, arm64, fakeModules{file: file})
	signed := at(0x25) | 0x2a<<48 // a pointer authentication code
	got := show(s, s.Unwind(regs(arm64, at(4), map[int]uint64{31: stackAt, 30: at(0x14)}), []Piece{{stackAt, words(0, signed)}}, 10))
	if want := "400204 f+4, 400214 g+4, 400225 start+5, complete"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Where the return address was never saved, a caller has none.
	got = show(s, s.Unwind(regs(arm64, at(4), map[int]uint64{31: stackAt, 30: at(0x8)}), []Piece{{stackAt, words(0)}}, 10))
	if want := "400204 f+4, 400208 f+8, no_rule"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestHeaderTable(t *testing.T) {
	file := fakeFile{machine: amd64.id, text: make([]byte, 0x40), ehFrame: amd64Frames(), header: make([]byte, 12+2*8), symbols: functions}
	b := file.bytes()
	im := openImage(newWindow(), bytes.NewReader(b), int64(len(b)))
	cie := uint64(le.Uint32(b[im.ehFrame.offset:])) + 4
	first := im.ehFrame.addr + cie
	second := first + 4 + uint64(le.Uint32(b[im.ehFrame.offset+cie:]))
	h := b[im.header.offset:]
	copy(h, []byte{1, 0x1b, 0x03, 0x3b})
	le.PutUint32(h[8:], 2)
	for i, v := range []uint64{textAt, first, textAt + 0x20, second} {
		le.PutUint32(h[12+4*i:], uint32(v-im.header.addr))
	}
	im = openImage(newWindow(), bytes.NewReader(b), int64(len(b)))
	for addr, want := range map[uint64]uint64{textAt: textAt, textAt + 0x1f: textAt, textAt + 0x20: textAt + 0x20} {
		if f, ok := im.findFDE(addr); !ok || f.low != want || im.listed {
			t.Errorf("%x: %x, %v, index made %v", addr, f.low, ok, im.listed)
		}
	}
	for _, addr := range []uint64{textAt - 1, textAt + 0x30, 0} {
		if f, ok := im.findFDE(addr); ok {
			t.Errorf("%x: %x", addr, f.low)
		}
	}
}

// What is loaded is as good as the file, even without section headers.
func TestLoadedImage(t *testing.T) {
	b := fakeFile{machine: amd64.id, text: make([]byte, 0x40), symbols: functions, dynamic: true, noTables: true, buildID: []byte("12345678")}.bytes()
	memory := io.NewSectionReader(shifted{bytes.NewReader(b), loadAt}, 0, 1<<40)
	s, _ := NewSpace(Process{Machine: amd64.id, Modules: fakeModules{}, Code: memory, Maps: []Mapping{
		{Start: loadAt, End: loadAt + 0x1000, Executable: true, Key: "x", Name: "/x (deleted)"},
		{Start: loadAt + 0x1000, End: loadAt + 0x9000, Offset: 0x1000, Executable: true, Key: "x", Name: "/x (deleted)"},
	}})
	st := s.At(at(0x12), 0)
	if got, want := show(s, st), "400212 g+2, not_stopped"; got != want || string(st.Frames[0].Module.BuildID) != "12345678" {
		t.Errorf("%s, want %s", got, want)
	}
}

type shifted struct {
	r  io.ReaderAt
	by int64
}

func (s shifted) ReadAt(p []byte, at int64) (int, error) {
	if at < s.by {
		return 0, io.EOF
	}
	return s.r.ReadAt(p, at-s.by)
}

func TestSymbols(t *testing.T) {
	symbols := []fakeSymbol{
		{"outer", textAt, 0x30, 0x02}, {"inner", textAt + 8, 8, 0x02}, {"local", textAt + 0x18, 8, 0x02}, {"global", textAt + 0x18, 8, 0x12},
		{"first@@V1", textAt + 0x20, 8, 0x12}, {"second", textAt + 0x20, 8, 0x12}, {"weak", textAt + 0x20, 8, 0x22},
		{"label", textAt + 0x32, 0, 0x10}, {"object", textAt + 0x34, 4, 0x11}, {"section", textAt, 0x40, 3}, {"", textAt, 0x40, 0x12},
	}
	file := fakeFile{machine: amd64.id, text: make([]byte, 0x40), symbols: symbols, buildID: []byte("id")}.bytes()
	stripped := fakeFile{machine: amd64.id, text: make([]byte, 0x40), buildID: []byte("id")}
	stripped.noTables = true
	for name, mods := range map[string]fakeModules{"own": {file: file}, "separate": {stripped.bytes(), file}} {
		for addr, want := range map[uint64]string{
			0: "outer+0", 7: "outer+7", 8: "inner+0", 0x10: "outer+16", 0x18: "global+0", 0x20: "first+0",
			0x2f: "outer+47", 0x30: "", 0x32: "label+0", 0x33: "label+1", 0x34: "object+0", 0x38: "",
		} {
			s := space(t, amd64, mods)
			_, got, _ := strings.Cut(show(s, s.At(at(addr), 0)), " ")
			got, _, _ = strings.Cut(got, ",")
			if got = strings.TrimPrefix(got, "not_stopped"); got != want {
				t.Errorf("%s: %x: %q, want %q", name, addr, got, want)
			}
		}
	}
	other := stripped
	other.buildID = []byte("no")
	s := space(t, amd64, fakeModules{other.bytes(), file})
	if got := show(s, s.At(at(0), 0)); strings.Contains(got, "outer") {
		t.Errorf("symbols of another build: %s", got)
	}
}

func TestExpressions(t *testing.T) {
	w := walk{Space: space(t, amd64, fakeModules{}), stack: []Piece{{stackAt, words(77, 0xffffffffffffff88)}}}
	w.r.v[7] = stackAt
	cfa := uint64(0x1234)
	for _, c := range []struct {
		name string
		code []byte
		want uint64
		bad  bool
	}{
		{"cfa", []byte{}, 0x1234, false},
		{"literal", []byte{0x35}, 5, false},
		{"register", []byte{0x77, 0x08, 0x06}, 0xffffffffffffff88, false},
		{"bregx", []byte{0x92, 7, 0, 0x06}, 77, false},
		{"deref_size", []byte{0x77, 8, 0x94, 1}, 0x88, false},
		{"constants", []byte{0x09, 0xff, 0x0a, 1, 1, 0x22}, 0x100, false},
		{"plt", []byte{0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, stackAt + 8, false},
		{"branch", []byte{0x31, 0x28, 1, 0, 0x00, 0x39}, 9, false},
		{"arithmetic", []byte{0x3a, 0x33, 0x1e, 0x37, 0x1b, 0x31, 0x1c, 0x20}, ^uint64(3), false},
		{"stack", []byte{0x31, 0x32, 0x33, 0x17, 0x16, 0x14, 0x15, 0, 0x13, 0x12, 0x22}, 4, false},
		{"shift", []byte{0x0e, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x08, 200, 0x26}, ^uint64(0), false},
		{"divide by 0", []byte{0x31, 0x30, 0x1b}, 0, true},
		{"underflow", []byte{0x13, 0x13}, 0, true},
		{"for ever", []byte{0x2f, 0xfd, 0xff}, 0, true},
		{"too deep", bytes.Repeat([]byte{0x31}, 100), 0, true},
		{"unknown", []byte{0xe0}, 0, true},
		{"cut", []byte{0x0e, 1}, 0, true},
		{"no memory", []byte{0x31, 0x06}, 0, true},
	} {
		if got, ok := w.eval(c.code, &cfa); ok == c.bad || !c.bad && got != c.want {
			t.Errorf("%s: %x, %v, want %x", c.name, got, ok, c.want)
		}
	}
}

func TestInstructions(t *testing.T) {
	start := []byte{0x0c, 7, 8, 0x90, 1}
	for _, c := range []struct {
		name string
		code []byte
		want plan // cfa and rules
	}{
		{"nothing", nil, plan{cfa: rule{kind: ruleRegister, reg: 7, off: 8}, rules: []rule{{kind: ruleOffset, column: 16, off: -8}}}},
		{"extended", []byte{0x05, 3, 4, 0x11, 12, 0x7e, 0x14, 13, 2, 0x09, 14, 5, 0x2f, 15, 1}, plan{cfa: rule{kind: ruleRegister, reg: 7, off: 8}, rules: []rule{
			{kind: ruleOffset, column: 3, off: -32}, {kind: ruleOffset, column: 12, off: 16}, {kind: ruleValOffset, column: 13, off: -16},
			{kind: ruleRegister, column: 14, reg: 5}, {kind: ruleOffset, column: 15, off: 8}, {kind: ruleOffset, column: 16, off: -8}}}},
		{"remember", []byte{0x0a, 0x0d, 6, 0x83, 2, 0x41, 0x0b}, plan{cfa: rule{kind: ruleRegister, reg: 7, off: 8}, rules: []rule{{kind: ruleOffset, column: 16, off: -8}}}},
		{"restore", []byte{0x83, 2, 0xc3, 0x07, 3, 0x06, 3, 0x08, 16, 0xd0}, plan{cfa: rule{kind: ruleRegister, reg: 7, off: 8}, rules: []rule{{kind: ruleOffset, column: 16, off: -8}}}},
		{"later", []byte{0x02, 200, 0x0e, 99}, plan{cfa: rule{kind: ruleRegister, reg: 7, off: 8}, rules: []rule{{kind: ruleOffset, column: 16, off: -8}}}},
		{"expressions", []byte{0x0f, 2, 0x77, 8, 0x10, 3, 1, 0x31, 0x16, 6, 1, 0x32, 0x2e, 4, 0x12, 6, 0x7f, 0x13, 0x7e}, plan{cfa: rule{kind: ruleRegister, reg: 6, off: 16}, rules: []rule{
			{kind: ruleExpression, column: 3, expr: []byte{0x31}}, {kind: ruleValExpression, column: 6, expr: []byte{0x32}}, {kind: ruleOffset, column: 16, off: -8}}}},
	} {
		f := fde{cie: cie{codeAlign: 1, dataAlign: -8, ra: 16, instructions: cursor{b: start}}, low: 0x1000, size: 0x100, instructions: cursor{b: c.code}}
		got := f.plan(0x1010, amd64, newWindow())
		if got == nil || !reflect.DeepEqual(got.rules, c.want.rules) || !reflect.DeepEqual(got.cfa, c.want.cfa) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for name, code := range map[string][]byte{"unknown": {0x3f}, "empty stack": {0x0b}, "cut": {0x0c, 7}, "register": {0x0d, 99}, "deep": bytes.Repeat([]byte{0x0a}, 100), "signed": {0x2d}} {
		f := fde{cie: cie{codeAlign: 1, dataAlign: -8, ra: 16, instructions: cursor{b: start}}, low: 0x1000, size: 0x100, instructions: cursor{b: code}}
		if got := f.plan(0x1010, amd64, newWindow()); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		b []byte
		u uint64
		s int64
	}{
		{[]byte{0}, 0, 0}, {[]byte{0x7f}, 127, -1}, {[]byte{0x80, 1}, 128, 128}, {[]byte{0xff, 0x7e}, 16255, -129},
		{append(bytes.Repeat([]byte{0xff}, 9), 1), ^uint64(0), -1}, {append(bytes.Repeat([]byte{0x80}, 20), 1), 0, 0},
	} {
		u, s := cursor{b: c.b}, cursor{b: c.b}
		if got := u.uleb(); got != c.u || u.bad || len(u.b) > 0 {
			t.Errorf("% x: %d", c.b, got)
		}
		if got := s.sleb(); got != c.s || s.bad {
			t.Errorf("% x: %d", c.b, got)
		}
	}
	for encoding, want := range map[byte]uint64{0x00: 0x8786858483828180, 0x02: 0x8180, 0x0a: 0xffffffffffff8180, 0x1b: 0xffffffff83828190, 0x3b: 0xffffffff83828280, 0x04: 0x8786858483828180} {
		c := cursor{b: []byte{0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87}, addr: 0x10}
		if got := c.pointer(encoding, 0x100); got != want || c.bad {
			t.Errorf("encoding %x: %x, want %x", encoding, got, want)
		}
	}
	cut := cursor{b: []byte{0xff}}
	if cut.uleb(); !cut.bad {
		t.Error("a number that is cut off")
	}
}
