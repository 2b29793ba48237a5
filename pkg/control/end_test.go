package control

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"vigil/pkg/fifo"
)

// TestServerEndsUnderQuestions ends the server while many ask. Each is told at once
// that nobody serves any more, or has its answer: what was done is not lost, and
// nobody waits for what will not come.
func TestServerEndsUnderQuestions(t *testing.T) {
	const clients = 8
	for round := range 30 {
		b := prepare()
		b.listen(t, Config{Dir: filepath.Join(t.TempDir(), "svc"), Socket: true})
		b.serve(t)
		var answered atomic.Int64
		ask := func(i int) error {
			verb, ask := "say", func(verb string, pairs []Pair) (Answer, []byte, error) {
				return Ask(nil, patience, b.dir, i%4 == 1, verb, pairs)
			}
			if i%2 == 0 {
				ask = func(verb string, pairs []Pair) (Answer, []byte, error) {
					return AskSocket(nil, patience, b.dir, verb, pairs)
				}
			}
			pairs := []Pair{{"text", "x"}}
			if i < 2 {
				verb, pairs = "big", nil
			}
			a, _, err := ask(verb, pairs)
			if err == nil && a.Code != "" {
				t.Errorf("%s: %+v", verb, a)
			}
			return err
		}
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				for {
					if err := ask(i); errors.Is(err, fifo.ErrNotServed) {
						return
					} else if err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					answered.Add(1)
				}
			})
		}
		until(t, "some answers", func() bool { return answered.Load() > int64(round)*2 })
		b.stop()
		all.Wait()
		if run := b.Server.count.lines.Load(); int64(run) != answered.Load() {
			t.Errorf("%d commands were run, %d answered", run, answered.Load())
		}
	}
}
