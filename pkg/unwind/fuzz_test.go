package unwind

import (
	"bytes"
	"testing"
)

// FuzzUnwind takes files that a user may have written and stacks that a program
// may have filled: whatever they hold, it ends soon, with bounded memory.
func FuzzUnwind(f *testing.F) {
	stack := words(0x1111, at(0x18), 0x2222, at(0x25), stackAt+8, at(1))
	file := fakeFile{machine: amd64.id, text: make([]byte, 0x40), ehFrame: amd64Frames(), symbols: functions, buildID: []byte("id")}
	f.Add(file.bytes(), stack, uint16(1), uint16(0), false)
	file.dynamic, file.noTables, file.machine = true, true, arm64.id
	f.Add(file.bytes(), stack, uint16(1), uint16(8), true)
	file.header = append([]byte{1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 8)...)
	f.Add(file.bytes(), stack, uint16(1), uint16(8), true)
	f.Add(goFile(go120).bytes(), stack, uint16(1), uint16(8), false)
	f.Fuzz(func(t *testing.T, file, stack []byte, pc, sp uint16, arm bool) {
		m := amd64
		if arm {
			m = arm64
		}
		s := space(t, m, fakeModules{file, file})
		s.code = bytes.NewReader(file)
		s.window.steps = 1 << 16
		r := regs(m, at(uint64(pc)), map[int]uint64{m.sp: stackAt + uint64(sp), m.fp: stackAt + uint64(sp) + 8})
		piece := Piece{stackAt, stack}
		Interrupted(m.id, piece)
		const limit = 50
		st := s.Unwind(r, []Piece{piece}, limit)
		if len(st.Frames) == 0 || len(st.Frames) > limit || st.End == "" || st.End == Limit != (len(st.Frames) == limit && st.End == Limit) {
			t.Errorf("%d frames, end %q", len(st.Frames), st.End)
		}
		s.Name([]Stack{st, s.At(at(3), 0)})
		for _, f := range st.Frames {
			if len(f.Func) > maxName {
				t.Errorf("a name of %d bytes", len(f.Func))
			}
		}
		if kept := len(s.window.blocks) * blockSize; kept > 2*(len(file)+blockSize) {
			t.Errorf("%d bytes kept of a file of %d", kept, len(file))
		}
		for _, mod := range s.opened {
			if im := mod.image; im != nil && len(im.index) > len(file)/8 {
				t.Errorf("an index of %d out of %d bytes", len(im.index), len(file))
			}
		}
	})
}

// FuzzFrames runs call frame instructions and the expressions in them.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x0c, 7, 8, 0x90, 1}, []byte{0x41, 0x0e, 16, 0x86, 2, 0x0a, 0x0b}, uint8(2))
	f.Add([]byte{0x0f, 3, 0x77, 8, 0x06}, []byte{0x10, 16, 3, 0x77, 0, 0x06, 0x16, 6, 2, 0x31, 0x28}, uint8(2))
	f.Fuzz(func(t *testing.T, initial, code []byte, pc uint8) {
		for _, m := range []*machine{amd64, arm64} {
			w := walk{Space: space(t, m, fakeModules{}), stack: []Piece{{stackAt, make([]byte, 64)}}}
			w.r.v[m.sp] = stackAt
			f := fde{cie: cie{codeAlign: 1, dataAlign: -8, ra: uint64(m.ra), instructions: cursor{b: initial}}, low: 0x1000, size: 0x100, instructions: cursor{b: code}}
			w.window.steps = 1 << 16
			p := f.plan(0x1000+uint64(pc), m, w.window)
			if p == nil {
				continue
			}
			if len(p.rules) > columns {
				t.Errorf("%d rules", len(p.rules))
			}
			w.apply(p)
		}
	})
}

// FuzzGoTable takes any bytes for the table of a Go program.
func FuzzGoTable(f *testing.F) {
	f.Add(goFile(go118).goTable, uint8(1))
	f.Add(goFile(go120).goTable, uint8(0x12))
	f.Fuzz(func(t *testing.T, table []byte, pc uint8) {
		file := fakeFile{machine: amd64.id, text: make([]byte, 0x20), goTable: table}.bytes()
		s := space(t, amd64, fakeModules{file: file})
		s.window.steps = 1 << 16
		st := s.Unwind(regs(amd64, at(uint64(pc)), map[int]uint64{7: stackAt}), []Piece{{stackAt, words(1, at(3), at(5), at(7))}}, 9)
		s.Name([]Stack{st})
		if len(st.Frames) > 9 || len(st.Frames[0].Func) > maxGoName {
			t.Errorf("%+v", st)
		}
	})
}
