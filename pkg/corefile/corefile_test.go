package corefile

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample(t testing.TB, segments []Segment) []byte {
	t.Helper()
	notes := AppendNote(nil, Note{"CORE", NTAuxv, []byte("12345")})
	notes = AppendNote(notes, Note{"LINUX", 0x202, bytes.Repeat([]byte{7}, 4096)})
	notes = AppendNote(notes, Note{"", 9, nil})
	head, size, err := Lay(MachineX8664, notes, segments, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, make([]byte, size-uint64(len(head)))...)
}

func TestRoundTrip(t *testing.T) {
	want := []Segment{
		{Address: 0x1000, MemSize: 0x3000, FileSize: 0x3000, Flags: Read | Write},
		{Address: 0x5000, MemSize: 0x9000, FileSize: 0, Flags: Read | Execute},
		{Address: 0x7fff_0000_0000, MemSize: 0x2000, FileSize: 0x1000, Flags: Read},
	}
	b := sample(t, want)
	c, err := Parse(bytes.NewReader(b))
	if err != nil || c.Machine != MachineX8664 || !reflect.DeepEqual(c.Segments, want) {
		t.Fatalf("got %+v, %v", c, err)
	}
	var got []Note
	err = c.Notes(func(n Note) error {
		n.Desc = slices.Clone(n.Desc)
		got = append(got, n)
		return nil
	})
	if err != nil || len(got) != 3 || got[0].Name != "CORE" || string(got[0].Desc) != "12345" || got[1].Name != "LINUX" || len(got[1].Desc) != 4096 || got[2].Type != 9 {
		t.Errorf("notes %v, %v", got, err)
	}
	// Another reader of ELF agrees.
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || f.Type != elf.ET_CORE || f.Machine != elf.EM_X86_64 || len(f.Progs) != 4 {
		t.Fatalf("debug/elf: %+v, %v", f, err)
	}
	for i, s := range want {
		p := f.Progs[i+1]
		if p.Type != elf.PT_LOAD || p.Vaddr != s.Address || p.Memsz != s.MemSize || p.Filesz != s.FileSize || p.Off != s.Offset || uint32(p.Flags) != s.Flags || p.Off%4096 != 0 {
			t.Errorf("debug/elf: segment %d: %+v", i, p)
		}
	}
}

func TestManySegments(t *testing.T) {
	segments := make([]Segment, 70000)
	for i := range segments {
		segments[i] = Segment{Address: uint64(i) << 12, MemSize: 4096}
	}
	b := sample(t, segments)
	c, err := Parse(bytes.NewReader(b))
	if err != nil || !reflect.DeepEqual(c.Segments, segments) {
		t.Errorf("%d segments, %v", len(c.Segments), err)
	}
	if err := c.Notes(func(Note) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestLayRefuses(t *testing.T) {
	for name, s := range map[string][]Segment{
		"larger in the file": {{MemSize: 1, FileSize: 2}},
		"too large":          {{MemSize: 1 << 63, FileSize: 1 << 63}},
		"overflow":           {{MemSize: 1 << 61, FileSize: 1 << 61}, {MemSize: 1 << 63, FileSize: 1 << 63}, {MemSize: 1 << 63, FileSize: 1 << 63}},
	} {
		if _, _, err := Lay(MachineX8664, nil, s, 4096); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := sample(t, []Segment{{Address: 0x1000, MemSize: 0x1000, FileSize: 0x1000}})
	with := func(at int, v ...byte) []byte {
		b := slices.Clone(good)
		copy(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": good[:20], "text": bytes.Repeat([]byte("hello "), 40), "32 bit": with(4, 1), "big endian": with(5, 2),
		"program": with(16, 2), "header size": with(54, 32),
	} {
		if _, err := Parse(bytes.NewReader(b)); !errors.Is(err, ErrNotCore) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"cut": good[:100], "count": with(56, 0xfe, 0xff), "far": with(32, 0, 0, 0, 0, 0, 0, 0, 0x7f), "many": with(56, 0xff, 0xff),
	} {
		if _, err := Parse(bytes.NewReader(b)); err == nil || errors.Is(err, ErrNotCore) {
			t.Errorf("%s: %v", name, err)
		}
	}
	notes := 64 + 2*56
	for name, b := range map[string][]byte{
		"name": with(notes, 0xff, 0xff), "desc": with(notes+4, 0xff, 0xff, 0xff, 0xff), "cut": good[:notes+30],
	} {
		c, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Notes(func(Note) error { return nil }); err == nil {
			t.Errorf("note with a bad %s accepted", name)
		}
	}
	c, _ := Parse(bytes.NewReader(good))
	if err := c.Notes(func(Note) error { return io.ErrClosedPipe }); err != io.ErrClosedPipe {
		t.Error(err)
	}
}

func TestPrstatus(t *testing.T) {
	want := Prstatus{Signal: 19, Pending: 1 << 40, Held: 3, PID: 12, PPID: 1, PGRP: 10, SID: 9, UTime: 3*time.Second + 120*time.Millisecond,
		STime: time.Millisecond, CUTime: time.Hour, CSTime: 0, Regs: bytes.Repeat([]byte{5}, 27*8), FPValid: true}
	b := AppendPrstatus(nil, want)
	if len(b) != 336 { // sizeof(struct elf_prstatus) on x86-64
		t.Errorf("%d bytes", len(b))
	}
	if got, err := ParsePrstatus(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, n := range []int{0, 112, 119, 123} {
		if _, err := ParsePrstatus(make([]byte, n)); err == nil {
			t.Errorf("%d bytes accepted", n)
		}
	}
}

func TestPrpsinfo(t *testing.T) {
	b := AppendPrpsinfo(nil, Prpsinfo{State: 'D', Nice: -5, UID: 1, GID: 2, PID: 3, PPID: 4, PGRP: 5, SID: 6, Name: strings.Repeat("n", 30), Args: strings.Repeat("a", 100)})
	if len(b) != 136 || b[0] != 2 || b[1] != 'D' || int8(b[3]) != -5 || le.Uint32(b[24:]) != 3 || string(b[40:57]) != strings.Repeat("n", 15)+"\x00a" || b[134] != 'a' || b[135] != 0 {
		t.Errorf("% x", b)
	}
	if b := AppendPrpsinfo(nil, Prpsinfo{State: 't'}); b[0] != 6 || b[1] != '.' {
		t.Errorf("an unknown state: % x", b[:4])
	}
	if b := AppendPrpsinfo(nil, Prpsinfo{State: 'Z'}); b[2] != 1 {
		t.Errorf("a zombie: % x", b[:4])
	}
}

func TestFile(t *testing.T) {
	b := AppendFile(nil, 4096, []FileMapping{{1, 2, 8192, "/a b"}, {3, 4, 0, "/c (deleted)"}})
	if len(b) != 16+48+5+13 || le.Uint64(b) != 2 || le.Uint64(b[16+16:]) != 2 || string(b[64:]) != "/a b\x00/c (deleted)\x00" {
		t.Errorf("% x", b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f, []Segment{{Address: 0x1000, MemSize: 0x1000, FileSize: 0x1000}}))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(c.Segments)*programSize > len(b) {
			// The file may list a header only once for each time it is there.
			t.Errorf("%d segments out of %d bytes", len(c.Segments), len(b))
		}
		seen := 0
		c.Notes(func(n Note) error {
			if len(n.Desc) > len(b) {
				t.Errorf("a note of %d bytes out of %d", len(n.Desc), len(b))
			}
			if n.Type == NTPrstatus {
				ParsePrstatus(n.Desc)
			}
			if seen++; seen > 1000 {
				return io.EOF // many headers may name the same notes
			}
			return nil
		})
	})
}

func FuzzParsePrstatus(f *testing.F) {
	f.Add(make([]byte, 336))
	f.Add(AppendPrstatus(nil, Prstatus{Signal: 11, Regs: make([]byte, 8), FPValid: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePrstatus(b)
		if err != nil {
			return
		}
		again, err := ParsePrstatus(AppendPrstatus(nil, p))
		if err != nil || again.PID != p.PID || again.Signal != p.Signal || again.Held != p.Held || !bytes.Equal(again.Regs, p.Regs) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}
