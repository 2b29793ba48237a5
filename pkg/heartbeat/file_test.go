package heartbeat

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/rundir"
)

func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newFile(t *testing.T, path string) *File {
	t.Helper()
	h, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func readBack(t *testing.T, path string) (Record, error) {
	t.Helper()
	d, err := rundir.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r, _, err := Read(d, filepath.Base(path))
	return r, err
}

func TestFileLife(t *testing.T) {
	path := filepath.Join(tempDir(t), "svc-A-01.hb")
	h := newFile(t, path)
	r := sample()
	write := func(msg int, size int64) {
		t.Helper()
		r.Seq++
		r.Msg = strings.Repeat("m", msg)
		if err := h.Write(&r); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Size() != size || st.Mode() != 0o644 {
			t.Fatalf("file: %v, %v; want %d bytes", st, err, size)
		}
		if got, err := readBack(t, path); err != nil || got.Seq != r.Seq || got.Msg != r.Msg {
			t.Fatalf("read back seq %d, %v; want %d", got.Seq, err, r.Seq)
		}
	}
	write(0, 512)
	first, _ := os.Stat(path)
	write(700, 1536)
	write(0, 1536) // never shrinks
	if now, _ := os.Stat(path); !os.SameFile(first, now) {
		t.Error("file was replaced, not overwritten")
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(0, 512) // made again
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Write(&r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(0, 512)
}

func TestFileHasOneWriter(t *testing.T) {
	path := filepath.Join(tempDir(t), "svc-A-01.hb")
	one, two := newFile(t, path), newFile(t, path)
	r := sample()
	if err := one.Write(&r); err != nil {
		t.Fatal(err)
	}
	if err := two.Write(&r); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("second writer: %v", err)
	}
	one.Close()
	if err := two.Write(&r); err != nil {
		t.Errorf("after the first has left: %v", err)
	}
}

func TestFileTakesOverWhatLiesThere(t *testing.T) {
	for _, size := range []int{0, 7, 512, 1000, 4096, 5000} {
		path := filepath.Join(tempDir(t), "svc-A-01.hb")
		if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o644); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(path)
		h := newFile(t, path)
		r := sample()
		if err := h.Write(&r); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) || after.Size()%Block != 0 || after.Size() > MaxSize {
			t.Errorf("%d bytes before: %v, %v", size, after, err)
		}
		if got, err := readBack(t, path); err != nil || got.Seq != r.Seq {
			t.Errorf("%d bytes before: %v", size, err)
		}
	}
}

func TestOpenFileRefuses(t *testing.T) {
	dir := tempDir(t)
	for _, name := range []string{"svc", ".hb", "-x.hb", "a b.hb"} {
		if _, err := OpenFile(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), "want ID.hb") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(filepath.Join(dir, "a.hb")); !errors.Is(err, rundir.ErrUntrusted) {
		t.Errorf("world-writable directory: %v", err)
	}
}

func TestFileRefusesWhatIsNoFile(t *testing.T) {
	dir := tempDir(t)
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", filepath.Join(dir, "svc-A-01.hb")); err != nil {
		t.Fatal(err)
	}
	h := newFile(t, filepath.Join(dir, "svc-A-01.hb"))
	r := sample()
	if err := h.Write(&r); !errors.Is(err, rundir.ErrNotRegular) {
		t.Errorf("symlink: %v", err)
	}
	if b, _ := os.ReadFile(target); string(b) != "precious" {
		t.Errorf("the link's target now holds %q", b)
	}
}

func TestFileOnFullDisk(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	dir := tempDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k,mode=755"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling up: %v", err)
	}
	h := newFile(t, filepath.Join(dir, "svc-A-01.hb"))
	r := sample()
	if err := h.Write(&r); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("full disk: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := h.Write(&r); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	if err := os.WriteFile(fill, make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling up: %v", err)
	}
	r.Seq++
	if err := h.Write(&r); err != nil {
		t.Errorf("in place on a full disk: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := tempDir(t)
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	put := func(name, text string, mode fs.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("a.hb", minimal+"\n", 0o644)
	put("long.hb", strings.Repeat("x", 5000), 0o644)
	put("open.hb", minimal+"\n", 0o646)
	put("empty.hb", "", 0o644)
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.hb"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.hb", filepath.Join(dir, "link.hb")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Reason{
		"long.hb": Oversize, "open.hb": Writable, "empty.hb": Empty, "fifo.hb": NotRegular, "link.hb": NotRegular, "no": WrongID,
	} {
		_, _, err := Read(d, name)
		var rej *Reject
		if !errors.As(err, &rej) || rej.Reason != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, _, err := Read(d, "gone.hb"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, info, err := Read(d, "a.hb"); err != nil || info.Nlink != 1 {
		t.Errorf("good one: %+v, %v", info, err)
	}
}

func TestReadRefusesForeignOwner(t *testing.T) {
	gate.Need(t, "root")
	path := filepath.Join(tempDir(t), "a.hb")
	if err := os.WriteFile(path, []byte(minimal+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := readBack(t, path)
	var rej *Reject
	if !errors.As(err, &rej) || rej.Reason != ForeignOwner || rej.Detail != "uid 65534" {
		t.Errorf("foreign file: %v", err)
	}
}

// A reader that looks while a writer beats sees whole records only.
func TestReadersSeeWholeRecords(t *testing.T) {
	path := filepath.Join(tempDir(t), "svc-A-01.hb")
	h := newFile(t, path)
	r := sample()
	if err := h.Write(&r); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			r.Seq++
			r.Metrics[0].Value = float64(r.Seq)
			if err := h.Write(&r); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	d, err := rundir.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	last := uint64(0)
	for range 20000 {
		got, _, err := Read(d, "svc-A-01.hb")
		if err != nil {
			t.Errorf("read: %v", err)
			break
		}
		if got.Seq < last || got.Seq > 1234 && got.Metrics[0].Value != float64(got.Seq) {
			t.Errorf("seq %d after %d with metric %v", got.Seq, last, got.Metrics[0].Value)
		}
		last = got.Seq
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
