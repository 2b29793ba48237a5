package crash

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
	"time"
)

// sheet is a file in memory that knows what was written.
type sheet struct {
	b       []byte
	written int
}

func (s *sheet) WriteAt(p []byte, at int64) (int, error) {
	if need := int(at) + len(p); need > len(s.b) {
		s.b = append(s.b, make([]byte, need-len(s.b))...)
	}
	s.written += len(p)
	return copy(s.b[at:], p), nil
}

func TestCopySparse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		at := r.Int64N(3 * page)
		text := make([]byte, r.IntN(3*chunk))
		touched := 0
		for p := int64(0); p < int64(len(text)); p += page - (at+p)%page {
			if r.IntN(3) == 0 {
				text[p] = 1
				touched++
			}
		}
		var s sheet
		end, err := copySparse(&s, iotest.HalfReader(bytes.NewReader(text)), at)
		if err != nil || end != at+int64(len(text)) {
			t.Fatalf("end %d, want %d; %v", end, at+int64(len(text)), err)
		}
		got := append(s.b, make([]byte, int(end)-len(s.b))...)
		if !bytes.Equal(got[at:], text) {
			t.Fatal("not the same bytes")
		}
		if s.written > touched*page {
			t.Fatalf("%d bytes written for %d pages", s.written, touched)
		}
	}
}

func TestCopySparseStops(t *testing.T) {
	text := bytes.Repeat([]byte{1}, 10*page)
	var s sheet
	b := &bounded{&s, 4 * chunk, 0}
	if _, err := copySparse(b, bytes.NewReader(bytes.Repeat(text, 1000)), 0); !errors.Is(err, errFull) || b.written > b.limit || b.written < b.limit-chunk {
		t.Errorf("%d bytes written, %v", b.written, err)
	}
	broken := errors.New("broken")
	if _, err := copySparse(&s, iotest.ErrReader(broken), 0); !errors.Is(err, broken) {
		t.Errorf("a broken reader: %v", err)
	}
}

// A pipe into which nothing comes any more is not waited for without end; what has
// come is kept.
func TestCopyUnanswered(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	out := &sheet{}
	come := io.MultiReader(io.LimitReader(patient{r, time.Hour}, 4), patient{r, 10 * time.Millisecond})
	if _, err := copySparse(out, come, 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if string(out.b) != "text" {
		t.Errorf("kept %q", out.b)
	}
}
