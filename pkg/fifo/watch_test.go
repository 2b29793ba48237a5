package fifo

import (
	"errors"
	"os"
	"testing"
)

func TestWatcher(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed":  os.Remove,
		"renamed":  func(p string) error { return os.Rename(p, p+".away") },
		"replaced": func(p string) error { return errors.Join(os.WriteFile(p+".new", nil, 0o600), os.Rename(p+".new", p)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			l := listen(t, d)
			w, err := NewWatcher()
			if err != nil {
				t.Fatal(err)
			}
			told, over := make(chan error, 10), make(chan struct{})
			go func() {
				defer close(over)
				for err == nil {
					err = w.Wait()
					told <- err
				}
			}()
			for range 2 {
				if err := w.Add(l); err != nil {
					t.Fatal(err)
				}
				if err := change(d.Path() + "/ctl"); err != nil {
					t.Fatal(err)
				}
				if err := <-told; err != nil {
					t.Fatal(err)
				}
				if healed, err := l.Heal(); !healed || err != nil {
					t.Errorf("healed %v, %v", healed, err)
				}
			}
			_ = w.Close()
			<-over
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}
