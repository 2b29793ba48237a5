package control

import (
	"os"
	"path/filepath"
	"testing"

	"vigil/pkg/fifo"
)

// BenchmarkRoundTrip is one command and its answer through a FIFO that the
// client keeps.
func BenchmarkRoundTrip(b *testing.B) {
	dir := os.Getenv("TMPDIR")
	if dir == "" {
		dir = b.TempDir()
	}
	dir = filepath.Join(dir, "svc")
	s, err := Listen(Config{Dir: dir, ID: "svc", Log: &memoLog{}})
	if err != nil {
		b.Fatal(err)
	}
	end, over := make(chan struct{}), make(chan error)
	go func() { over <- s.Serve(end) }()
	c, err := fifo.Dial(nil, patience*100, dir, ctlName, fifosName)
	if err != nil {
		b.Fatal(err)
	}
	line, buf := "@"+c.ID()+":p ping", make([]byte, 4096)
	for b.Loop() {
		if err := c.Write(line); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	close(end)
	if err := <-over; err != nil {
		b.Fatal(err)
	}
}
