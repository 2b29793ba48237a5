package corecap

import (
	"io"
	"time"

	"vigil/pkg/fmt"
)

// progressAfter is how long a capture lasts that needs no progress line.
const progressAfter = 2 * time.Second

// progress is a line on a terminal that is written anew again and again.
type progress struct {
	out   io.Writer
	begun time.Time
	shown bool
}

const clearLine = "\r\x1b[K"

// show tells bytes, rate and time left; 0, 0 ends it.
func (p *progress) show(done, total int64) {
	spent := time.Since(p.begun)
	switch {
	case done == 0 && total == 0:
		p.clear()
	case spent >= progressAfter:
		p.shown = true
		fmt.Fprintf(p.out, "%s%s", clearLine, progressLine(done, total, spent))
	}
}

func (p *progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprintf(p.out, "%s", clearLine)
	}
}

// progressLine words it. total is an estimate: done may exceed it.
func progressLine(done, total int64, spent time.Duration) string {
	rate := float64(done) / spent.Seconds()
	line := fmt.Sprintf("%d MiB of %d, %d MiB/s", done>>20, max(done, total)>>20, int64(rate)>>20)
	if left := total - done; left > 0 && rate > 0 {
		line += fmt.Sprintf(", %v left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return line
}
