package spool

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1000": 1000, "1K": 1024, "512M": 512 << 20, "4G": 4 << 30, "7T": 7 << 40, "1536K": 1536 << 10, "8388607T": 8388607 << 40} {
		var s Size
		if err := s.Set(text); err != nil || s != want || s.String() != text {
			t.Errorf("%s: %d, %v; written %s", text, s, err, s)
		}
	}
	for _, text := range []string{"", "K", "-1", "+1", "1k", "1.5G", "1GB", " 1", "8388608T", "9223372036854775808", "0x10"} {
		s := Size(7)
		if err := s.Set(text); err == nil || s != 7 {
			t.Errorf("%q passes for %d", text, s)
		}
	}
}
