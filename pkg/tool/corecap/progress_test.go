package corecap

import (
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	for want, line := range map[string]string{
		"512 MiB of 1024, 256 MiB/s, 2s left": progressLine(512<<20, 1<<30, 2*time.Second),
		"1025 MiB of 1025, 205 MiB/s":         progressLine(1025<<20, 1<<30, 5*time.Second),
		"0 MiB of 8, 0 MiB/s":                 progressLine(0, 8<<20, 3*time.Second),
	} {
		if line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
	var out strings.Builder
	p := &progress{out: &out, begun: time.Now()}
	p.show(1<<20, 2<<20)
	p.clear()
	if out.Len() > 0 {
		t.Errorf("at once: %q", &out)
	}
	p.begun = p.begun.Add(-progressAfter)
	p.show(1<<20, 2<<20)
	p.show(0, 0)
	if got := out.String(); !strings.HasPrefix(got, clearLine+"1 MiB of 2") || !strings.HasSuffix(got, clearLine) {
		t.Errorf("%q", got)
	}
}
