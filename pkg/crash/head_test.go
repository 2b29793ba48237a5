package crash

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"vigil/pkg/corefile"
)

// coreOf is a core as the kernel would lay it out, of n segments of one page.
func coreOf(t testing.TB, n int) (whole []byte, headSize int) {
	t.Helper()
	prstatus := corefile.AppendPrstatus(nil, corefile.Prstatus{Signal: 11, PID: 7, Regs: make([]byte, 27*8)})
	psinfo := corefile.AppendPrpsinfo(nil, corefile.Prpsinfo{Name: "web", PID: 7})
	siginfo := make([]byte, 128)
	le.PutUint32(siginfo, 11)
	le.PutUint32(siginfo[8:], 1)
	le.PutUint64(siginfo[16:], 0x20)
	auxv := make([]byte, 48)
	le.PutUint64(auxv, auxSecure)
	le.PutUint64(auxv[8:], 1)
	var notes []byte
	for _, note := range []corefile.Note{
		{Name: "CORE", Type: corefile.NTPrstatus, Desc: prstatus}, {Name: "CORE", Type: corefile.NTPrpsinfo, Desc: psinfo},
		{Name: "CORE", Type: corefile.NTSiginfo, Desc: siginfo}, {Name: "CORE", Type: corefile.NTAuxv, Desc: auxv},
		{Name: "CORE", Type: corefile.NTPrstatus, Desc: prstatus},
	} {
		notes = corefile.AppendNote(notes, note)
	}
	segments := make([]corefile.Segment, n)
	for i := range segments {
		segments[i] = corefile.Segment{Address: uint64(i+1) << 16, MemSize: page, FileSize: page}
	}
	head, size, err := corefile.Lay(corefile.MachineX8664, notes, segments, page)
	if err != nil {
		t.Fatal(err)
	}
	whole = append(head, make([]byte, int(size)-len(head))...)
	return whole, len(head)
}

// asKernel moves the section header of a core with very many segments from behind
// the program headers, where Lay puts it, to the end, where the kernel does.
func asKernel(whole []byte, headSize int) (moved []byte, newHead int) {
	at := int(le.Uint64(whole[shOff:]))
	if at == 0 {
		return whole, headSize
	}
	section := bytes.Clone(whole[at : at+sectionSize])
	moved = append(bytes.Clone(whole[:at]), whole[at+sectionSize:headSize]...)
	newHead = len(moved)
	moved = append(moved, make([]byte, sectionSize)...) // the segments stay where they are
	moved = append(moved, whole[headSize:]...)
	le.PutUint64(moved[headerSize+pOffset:], uint64(at))
	le.PutUint64(moved[shOff:], uint64(len(moved)))
	return append(moved, section...), newHead
}

func TestReadHead(t *testing.T) {
	for _, n := range []int{0, 1, 40, manyPrograms - 2, manyPrograms - 1, manyPrograms + 10} {
		whole, headSize := asKernel(coreOf(t, n))
		r := bytes.NewReader(whole)
		h, err := readHead(iotest.HalfReader(r))
		if err != nil {
			t.Fatalf("%d segments: %v", n, err)
		}
		if len(h.core.Segments) != n || h.size != int64(len(whole)) || len(h.bytes) != headSize {
			t.Errorf("%d segments: read %d, size %d of %d, head %d of %d", n, len(h.core.Segments), h.size, len(whole), len(h.bytes), headSize)
		}
		if r.Len() != len(whole)-headSize {
			t.Errorf("%d segments: %d bytes are left of %d", n, r.Len(), len(whole)-headSize)
		}
		if n >= manyPrograms-1 && !bytes.Equal(h.section, whole[len(whole)-sectionSize:]) {
			t.Errorf("%d segments: section header is not the kernel's", n)
		}
		s := readNotes(h.core)
		if s.threads != 2 || s.comm != "web" || s.cause.address != 0x20 || !s.caused || len(s.sps) != 2 || !s.secure() {
			t.Errorf("%d segments: notes %+v", n, s)
		}
	}
}

func TestReadHeadRefuses(t *testing.T) {
	whole, headSize := coreOf(t, 3)
	change := func(at int, v uint64) []byte {
		b := bytes.Clone(whole)
		le.PutUint64(b[at:], v)
		return b
	}
	for name, test := range map[string]struct {
		text []byte
		err  error
	}{
		"nothing":         {nil, io.ErrUnexpectedEOF},
		"cut":             {whole[:headSize-1], io.ErrUnexpectedEOF},
		"32 bits":         {append([]byte("\x7fELF\x01\x01"), whole[6:]...), errNotParsed},
		"not ELF":         {bytes.Repeat([]byte("x"), 4096), errNotParsed},
		"headers away":    {change(phOff, 65), errNotParsed},
		"notes away":      {change(headerSize+pOffset, 1<<40), errNotParsed},
		"notes huge":      {change(headerSize+pFilesz, 1<<40), errNotParsed},
		"segment in head": {change(headerSize+programSize+pOffset, 8), errNotParsed},
		"segment wraps":   {change(headerSize+programSize+pFilesz, 1<<63), errNotParsed},
	} {
		if h, err := readHead(bytes.NewReader(test.text)); !errors.Is(err, test.err) || !bytes.Equal(h.bytes, test.text[:len(h.bytes)]) {
			t.Errorf("%s: %v, %d bytes kept", name, err, len(h.bytes))
		}
	}
}

func FuzzReadHead(f *testing.F) {
	whole, _ := coreOf(f, 2)
	f.Add(whole)
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(text)
		h, err := readHead(r)
		if !bytes.Equal(h.bytes, text[:len(h.bytes)]) || len(h.bytes)+r.Len() != len(text) {
			t.Error("bytes were lost")
		}
		if err == nil {
			readNotes(h.core)
		}
	})
}
