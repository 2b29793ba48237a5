package crash

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/rundir"
)

func spoolDir(t *testing.T) *rundir.Dir {
	t.Helper()
	path := t.TempDir()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// Crashes one after the other: the first of a window and the last are left.
func TestTallyKeepsFirstAndLast(t *testing.T) {
	var y tally
	var kept []string
	crash := func(name string, now time.Duration) {
		n := y.enter("boot", now, time.Minute)
		kept = append(kept, name)
		if gone := y.leave(n, name); gone != "" {
			kept = slices.DeleteFunc(kept, func(s string) bool { return s == gone })
		}
	}
	crash("a", 10*time.Second)
	crash("b", 20*time.Second)
	crash("c", 30*time.Second)
	if want := []string{"a", "c"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if y.Count != 3 {
		t.Errorf("count %d", y.Count)
	}
	crash("d", 70*time.Second) // another window
	crash("e", 71*time.Second)
	crash("f", 72*time.Second)
	if want := []string{"a", "c", "d", "f"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if n := y.enter("other boot", 73*time.Second, time.Minute); n != 1 {
		t.Errorf("after a boot: number %d", n)
	}
	if n := y.enter("other boot", time.Second, time.Minute); n != 1 {
		t.Errorf("a time before the first: number %d", n)
	}
}

func TestParseTally(t *testing.T) {
	want := tally{Boot: "b", Since: 5 * time.Second, Count: 7, Last: "web_1_20260301T000000Z"}
	if got, err := parseTally(want.append(nil)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "x", `{"count":-1}`, `{"last":"../x"}`, `{"count":"1"}`, `{"count":1,"count":2}`} {
		if got, err := parseTally([]byte(text)); err == nil {
			t.Errorf("%q passes for %+v", text, got)
		}
	}
}

func FuzzParseTally(f *testing.F) {
	f.Add([]byte(`{"boot":"b","since_bt_ms":5,"count":7,"last":"w"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		y, err := parseTally(text)
		if err != nil {
			return
		}
		if again, err := parseTally(y.append(nil)); err != nil || again != y {
			t.Errorf("%+v is read back as %+v, %v", y, again, err)
		}
	})
}

// Many at once: all are counted, the first and the newest are saved, and one
// at a time.
func TestTurns(t *testing.T) {
	dir := spoolDir(t)
	const crashes = 60
	now := func() time.Duration { return time.Second }
	first, mine, err := take(dir, "web_0.crashes", "boot", time.Minute, now)
	if err != nil || !mine || first.number != 1 {
		t.Fatalf("first: %+v, %v, %v", first, mine, err)
	}
	var saving, saved, counted atomic.Int64
	var last atomic.Int64
	var all sync.WaitGroup
	for range crashes {
		all.Go(func() {
			turn, mine, err := take(dir, "web_0.crashes", "boot", time.Minute, now)
			if err != nil {
				t.Error(err)
				return
			}
			if !mine {
				counted.Add(1)
				return
			}
			if saving.Add(1) != 1 {
				t.Error("two are saved at once")
			}
			saved.Add(1)
			last.Store(turn.number)
			saving.Add(-1)
			if _, err := turn.done("base"); err != nil {
				t.Error(err)
			}
		})
	}
	// All have entered when the count says so; then the first lets go.
	for entered := int64(0); entered < crashes+1; {
		if err := first.update(func(y *tally) { entered = y.Count }); err != nil {
			t.Fatal(err)
		}
	}
	// All but the newest leave before there is a turn to be had.
	for counted.Load() < crashes-1 {
		runtime.Gosched()
	}
	if saved.Load() != 0 {
		t.Error("saved out of turn")
	}
	if _, err := first.done("first"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if saved.Load() != 1 || counted.Load() != crashes-1 || last.Load() != crashes+1 {
		t.Errorf("%d saved, the last is number %d, %d counted only", saved.Load(), last.Load(), counted.Load())
	}
}

// What is not a tally is begun anew, whatever lies there.
func TestTurnOverGarbage(t *testing.T) {
	dir := spoolDir(t)
	if err := dir.Create("web_0.crashes", []byte("garbage, and more of it than a tally is long: "+string(make([]byte, 500))), 0o600); err != nil {
		t.Fatal(err)
	}
	turn, mine, err := take(dir, "web_0.crashes", "boot", time.Minute, func() time.Duration { return 0 })
	if err != nil || !mine || turn.number != 1 {
		t.Fatalf("%+v, %v, %v", turn, mine, err)
	}
	b, _, err := dir.Read("web_0.crashes", 4096)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := parseTally(b); err != nil || y.Count != 1 {
		t.Errorf("%+v, %v", y, err)
	}
}

// Tallies of programs that have not crashed for long go, but none that is in use.
func TestSweep(t *testing.T) {
	dir := spoolDir(t)
	now := func() time.Duration { return 0 }
	for _, name := range []string{"old_0.crashes", "new_0.crashes"} {
		turn, mine, err := take(dir, name, "boot", time.Minute, now)
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		turn.writer.Close()
	}
	busy, _, err := take(dir, "busy_0.crashes", "boot", time.Minute, now)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.writer.Close()
	if err := dir.Create("other", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{"old_0.crashes", "old_0.crashes.turn", "busy_0.crashes.turn", "other"} {
		if err := os.Chtimes(filepath.Join(dir.Path(), name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	sweep(dir, time.Minute, time.Now())
	names, err := dir.Names()
	slices.Sort(names)
	if want := []string{"busy_0.crashes", "busy_0.crashes.turn", "new_0.crashes", "new_0.crashes.turn", "other"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("left %q, want %q, %v", names, want, err)
	}
	sweep(dir, 3*time.Hour, time.Now()) // a window that is longer
	if again, _, err := take(dir, "old_0.crashes", "boot", time.Minute, now); err != nil || again.number != 1 {
		t.Errorf("swept, then taken: %+v, %v", again, err)
	}
}

// Who waited for the lock of a file that was swept meanwhile has no lock.
func TestLockSwept(t *testing.T) {
	dir := spoolDir(t)
	y := &turn{dir: dir}
	old, err := y.lock("a", syscall.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *os.File)
	go func() {
		f, _ := y.lock("a", syscall.LOCK_EX)
		got <- f
	}()
	if err := dir.Remove("a"); err != nil {
		t.Fatal(err)
	}
	old.Close()
	f := <-got
	if f == nil {
		t.Fatal("no lock")
	}
	defer f.Close()
	if other, err := y.lock("a", syscall.LOCK_EX|syscall.LOCK_NB); other != nil || err != nil {
		t.Errorf("two have the lock: %v, %v", other, err)
	}
}
