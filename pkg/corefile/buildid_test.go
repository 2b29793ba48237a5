package corefile

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// mapped is the start of an ELF file with one segment of notes.
func mapped(notes []byte) []byte {
	b := appendHeader(nil, MachineX8664, 2, 0)
	b = appendProgram(b, programLoad, Segment{FileSize: 4096, MemSize: 4096}, 4096)
	b = appendProgram(b, programNote, Segment{Offset: uint64(len(b)) + programSize, FileSize: uint64(len(notes))}, 4)
	return append(b, notes...)
}

func TestBuildID(t *testing.T) {
	other := AppendNote(nil, Note{Name: "GNU", Type: 1, Desc: []byte("abi")})
	id := AppendNote(other, Note{Name: "GNU", Type: ntGNUBuildID, Desc: []byte{0xab, 0xcd}})
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"second note":      {mapped(id), "abcd"},
		"none":             {mapped(other), ""},
		"another's":        {mapped(AppendNote(nil, Note{Name: "Go", Type: ntGNUBuildID, Desc: []byte{1}})), ""},
		"too long":         {mapped(AppendNote(nil, Note{Name: "GNU", Type: ntGNUBuildID, Desc: make([]byte, maxBuildID+1)})), ""},
		"cut":              {mapped(id)[:len(mapped(id))-3], ""},
		"no ELF":           {[]byte("#!/bin/sh"), ""},
		"only an ELF mark": {append([]byte("\x7fELF\x02\x01"), make([]byte, 58)...), ""},
	} {
		if got := hex.EncodeToString(BuildID(bytes.NewReader(c.file))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add(mapped(AppendNote(nil, Note{Name: "GNU", Type: ntGNUBuildID, Desc: []byte{1, 2, 3}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id := BuildID(bytes.NewReader(b)); len(id) > maxBuildID {
			t.Errorf("%d bytes", len(id))
		}
	})
}
