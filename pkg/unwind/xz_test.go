package unwind

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// plain is what testdata/*.xz hold: much that repeats, and 3000 bytes of noise.
func plain() []byte {
	var b []byte
	for i := range 40000 {
		b = fmt.Appendf(b, "line %d of many\n", i)
	}
	first := b[:1000]
	for i, x := 0, uint32(0x9E3779B9); i < 3000; i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b = append(b, byte(x))
	}
	return append(b, first...)
}

func TestUnxz(t *testing.T) {
	want := plain()
	for _, name := range []string{"default.xz", "parameters.xz"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := unxz(b, newWindow()); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), ok, len(want))
		}
		for _, n := range []int{0, 5, 20, 24, 30, len(b) / 2} {
			if _, ok := unxz(b[:n], newWindow()); ok {
				t.Errorf("%s: unpacked from %d bytes", name, n)
			}
		}
	}
}

// A bomb is not unpacked: zeroes shrink to a seven-thousandth.
func TestUnxzBomb(t *testing.T) {
	b, err := os.ReadFile("testdata/zeroes.xz") // 16 MiB
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := unxz(b, newWindow()); ok {
		t.Errorf("%d bytes out of %d", len(got), len(b))
	}
}

func TestDebugData(t *testing.T) {
	packed, err := os.ReadFile("testdata/symbols.xz")
	if err != nil {
		t.Fatal(err)
	}
	s := space(t, amd64, fakeModules{file: fakeFile{machine: amd64.id, text: make([]byte, 0x40), debug: packed}.bytes()})
	if got, want := show(s, s.At(at(0x12), 0)), fmt.Sprintf("%x g+2, not_stopped", at(0x12)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzUnxz unpacks anything, into bounded memory.
func FuzzUnxz(f *testing.F) {
	b, err := os.ReadFile("testdata/symbols.xz")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWindow()
		w.steps = 1 << 16
		if got, _ := unxz(b, w); len(got) > maxRatio*len(b)+1<<16 {
			t.Errorf("%d bytes out of %d", len(got), len(b))
		}
	})
}
