package capture

import (
	"encoding/binary"
	"testing"
)

func TestWithoutTiles(t *testing.T) {
	for _, c := range []struct {
		name       string
		size       int
		xcr0, used uint64
		want       int
		wantXCR0   uint64
	}{
		{"no tiles", 2696, 0x2e7, 0x2e7, 2696, 0x2e7},
		{"unused", 11008, 0x602e7, 0x2e7, 2696, 0x2e7},
		{"unused, no protection keys", 11008, 0x600e7, 3, 2688, 0xe7},
		{"used", 11008, 0x602e7, 0x602e7, 11008, 0x602e7},
		{"something else", 11008, 0x802e7, 0x2e7, 11008, 0x802e7},
	} {
		b := make([]byte, c.size)
		binary.LittleEndian.PutUint64(b[xsaveXCR0:], c.xcr0)
		binary.LittleEndian.PutUint64(b[xsaveUsed:], c.used)
		got := withoutTiles(b)
		if xcr0 := binary.LittleEndian.Uint64(got[xsaveXCR0:]); len(got) != c.want || xcr0 != c.wantXCR0 {
			t.Errorf("%s: %d bytes, xcr0 %#x", c.name, len(got), xcr0)
		}
	}
}
