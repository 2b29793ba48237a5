package sender

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
)

// BenchmarkBeat is what a beat costs besides waking up: stamp, text, fstat and
// pwrite.
func BenchmarkBeat(b *testing.B) {
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	f, err := heartbeat.OpenFile(filepath.Join(dir, "svc.hb"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	boot, err := boottime.ID()
	if err != nil {
		b.Fatal(err)
	}
	c := NewClock()
	s := &Sender{
		Record: heartbeat.Record{ID: "svc", PID: 7, Boot: boot, StartMS: c.Wall(), IntervalMS: 1000, CRC: true, Msg: "all well"},
		Name:   "svc.hb", Sink: f, Clock: c, begun: true, interval: time.Second,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.beat(c.Now(), 0, running); err != nil {
			b.Fatal(err)
		}
	}
}
