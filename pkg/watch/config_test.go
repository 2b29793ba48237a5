package watch

import (
	"strings"
	"testing"
	"time"
)

func TestParseTimeout(t *testing.T) {
	for _, tt := range []struct {
		in, id string
		d      time.Duration
		bad    string
	}{
		{"30s", "", 30 * time.Second, ""},
		{"svc-A.01=1m30s", "svc-A.01", 90 * time.Second, ""},
		{"50ms", "", 50 * time.Millisecond, ""},
		{"30", "", 0, `"30": want a duration with its unit`},
		{"", "", 0, `"": want a duration`},
		{"a=", "", 0, `"": want a duration`},
		{"=5s", "", 0, `id "": want`},
		{"a/b=5s", "", 0, `id "a/b": want`},
		{"a=b=5s", "", 0, `"b=5s": want a duration`},
		{"49ms", "", 0, "want at least 50ms"},
		{"-5s", "", 0, "want at least 50ms"},
		{"100000h", "", 0, "and at most 87840h"},
	} {
		id, d, err := ParseTimeout(tt.in)
		if tt.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%q: %v, want %q", tt.in, err, tt.bad)
			}
		} else if id != tt.id || d != tt.d || err != nil {
			t.Errorf("%q: %q %v %v", tt.in, id, d, err)
		}
	}
}

// FuzzParseTimeout: what is accepted says the same when written again.
func FuzzParseTimeout(f *testing.F) {
	for _, s := range []string{"30s", "svc=5m", "a=b=c", "=", "9223372036854775807ns", "a=1e3s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, d, err := ParseTimeout(s)
		if err != nil {
			return
		}
		again := d.String()
		if id != "" {
			again = id + "=" + again
		}
		id2, d2, err := ParseTimeout(again)
		if id2 != id || d2 != d || err != nil || d <= 0 {
			t.Errorf("%q: %q %v; written as %q: %q %v %v", s, id, d, again, id2, d2, err)
		}
	})
}

func FuzzParseExpect(f *testing.F) {
	for _, s := range []string{"a", "a,b", ",", "a b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ids, err := ParseExpect(s); err == nil && strings.Join(ids, ",") != s {
			t.Errorf("%q: %q", s, ids)
		}
	})
}
