package heartbeat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
)

// A beat in place costs no memory, however long the sender lives.
func TestWriteAllocatesNothing(t *testing.T) {
	for name, key := range map[string]*Key{"plain": nil, "signed": vectorKey(t)} {
		h := newFile(t, filepath.Join(tempDir(t), "svc-A-01.hb"))
		h.Key = key
		r := sample()
		r.Sig = ""
		var err error
		n := testing.AllocsPerRun(200, func() {
			r.Seq++
			if werr := h.Write(&r); werr != nil {
				err = werr
			}
		})
		if n != 0 || err != nil {
			t.Errorf("%s: %v allocations per beat, %v", name, n, err)
		}
	}
}

func TestAtomicReplaces(t *testing.T) {
	path := filepath.Join(tempDir(t), "svc-A-01.hb")
	one, two := newFile(t, path), newFile(t, path)
	one.Atomic, two.Atomic = true, true
	r := sample()
	var before fs.FileInfo
	for range 3 {
		r.Seq++
		if err := one.Write(&r); err != nil {
			t.Fatal(err)
		}
		now, err := os.Stat(path)
		if err != nil || before != nil && os.SameFile(before, now) {
			t.Fatalf("not replaced: %v", err)
		}
		before = now
		if got, err := readBack(t, path); err != nil || got.Seq != r.Seq {
			t.Errorf("%+v, %v", got, err)
		}
		// Whoever comes between two beats finds the file locked.
		if err := two.Write(&r); !errors.Is(err, ErrBusy) {
			t.Errorf("second writer: %v", err)
		}
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	one.Close()
	if err := two.Write(&r); err != nil {
		t.Errorf("after the first has left: %v", err)
	}
	dir := filepath.Dir(path)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := two.Write(&r); err != nil {
		t.Errorf("directory made again: %v", err)
	}
}

// Without descriptors there is an error, and nothing is lost for good.
func TestNoDescriptorsLeft(t *testing.T) {
	dir := tempDir(t)
	h := newFile(t, filepath.Join(dir, "svc-A-01.hb"))
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPipe(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	touch := NewTouch(filepath.Join(dir, "touched"))
	defer touch.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	r := sample()
	none := before
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	errs := []error{h.Write(&r), touch.Write(&r), p.Write(&r)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if !errors.Is(err, syscall.EMFILE) || !strings.HasPrefix(err.Error(), dir) {
			t.Errorf("sink %d: %v", i, err)
		}
	}
	if err := h.Write(&r); err != nil {
		t.Error(err)
	}
	if err := touch.Write(&r); err != nil {
		t.Error(err)
	}
	if err := p.Write(&r); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
}

func TestTouch(t *testing.T) {
	path := filepath.Join(tempDir(t), "touched")
	one, two := NewTouch(path), NewTouch(path)
	defer one.Close()
	defer two.Close()
	write := func(s Status) {
		t.Helper()
		if err := one.Write(&Record{Status: s}); err != nil {
			t.Fatal(err)
		}
	}
	age := func() time.Duration {
		t.Helper()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() != 0 {
			t.Errorf("%d bytes in it", st.Size())
		}
		return time.Since(st.ModTime())
	}
	old := func() {
		t.Helper()
		if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []Status{OK, Starting, Degraded, Held} {
		write(s)
		if age() > time.Hour {
			t.Errorf("%v: not touched", s)
		}
		old()
	}
	for _, s := range []Status{Error, Stopping} {
		write(s)
		if age() < time.Hour {
			t.Errorf("%v: touched", s)
		}
	}
	if err := two.Write(&Record{}); !errors.Is(err, ErrBusy) {
		t.Errorf("second toucher: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(OK) // made again
	age()
}

func TestTouchRefuses(t *testing.T) {
	for name, make := range map[string]func(string) error{
		"a directory": func(p string) error { return os.Mkdir(p, 0o755) },
		"a FIFO":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a link":      func(p string) error { return os.Symlink(p+".other", p) },
	} {
		p := filepath.Join(tempDir(t), "x")
		if err := make(p); err != nil {
			t.Fatal(err)
		}
		if err := NewTouch(p).Write(&Record{}); err == nil || !strings.HasPrefix(err.Error(), p+": open: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(tempDir(t), "svc.hb")
	for range 2 { // the second time it is there already
		if err := Create(path, 5000, -1, -1); err != nil {
			t.Fatal(err)
		}
	}
	r, err := readBack(t, path)
	if err != nil || r.Seq != 0 || r.BTMS != 0 || r.Boot != noBoot || r.PID != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	h := newFile(t, path)
	beat := sample()
	beat.ID = "svc"
	if err := h.Write(&beat); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, 5000, -1, -1); err != nil {
		t.Error(err)
	}
	if r, err := readBack(t, path); err != nil || r.Seq != beat.Seq {
		t.Errorf("created over a beat: %+v, %v", r, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, 5000, -1, -1); err == nil || !strings.Contains(err.Error(), "with mode 0600; remove it first") {
		t.Errorf("another mode: %v", err)
	}
	link := filepath.Join(filepath.Dir(path), "link.hb")
	if err := os.Symlink("svc.hb", link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link, 5000, -1, -1); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("symlink: %v", err)
	}
	if err := Create("svc", 5000, -1, -1); err == nil || !strings.Contains(err.Error(), "file name") {
		t.Errorf("name: %v", err)
	}
}

func TestCreateForAnother(t *testing.T) {
	gate.Need(t, "root")
	path := filepath.Join(tempDir(t), "svc.hb")
	for range 2 {
		if err := Create(path, 5000, 65534, 65533); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 65534 || sys.Gid != 65533 || st.Mode() != 0o644 {
		t.Errorf("owner %d:%d, mode %v", sys.Uid, sys.Gid, st.Mode())
	}
	if err := Create(path, 5000, 65532, -1); err == nil || !strings.Contains(err.Error(), "exists, owned by 65534:65533") {
		t.Errorf("another owner: %v", err)
	}
}

// A reader comes, goes, does not read, and comes again. It is long: one story
// of one FIFO.
func TestPipeOutlivesItsReaders(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	if _, err := OpenPipe(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPipe(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := sample()
	expect := func(want error) {
		t.Helper()
		r.Seq++
		if err := p.Write(&r); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	expect(ErrNobody)
	f := open()
	expect(nil)
	full := 0
	for ; full < 10000; full++ {
		if err := p.Write(&r); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	buf := make([]byte, 1<<20)
	n, err := io.ReadFull(f, buf[:(full+1)*(len(sampleText)+1)])
	if err != nil || !strings.HasSuffix(string(buf[:n]), "\"}\n") || strings.Count(string(buf[:n]), "\n") != full+1 {
		t.Errorf("%d bytes, %v: not %d whole lines", n, err, full+1)
	}
	expect(nil)
	f.Close()
	expect(ErrNobody)
	expect(ErrNobody)
	f = open()
	expect(nil)
	n, err = f.Read(buf)
	line := fmt.Sprintf(`"seq":%d,`, r.Seq)
	if err != nil || !strings.Contains(string(buf[:n]), line) || strings.Count(string(buf[:n]), "\n") != 1 {
		t.Errorf("the new reader gets %q, %v", buf[:n], err)
	}
	f.Close()

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(ErrNobody) // as it was open
	expect(fs.ErrNotExist)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(&r); err == nil || !strings.Contains(err.Error(), "not a FIFO") {
		t.Errorf("a file in its place: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := OpenPipe(path); err == nil || !strings.Contains(err.Error(), "not a FIFO") {
		t.Errorf("a file: %v", err)
	}
}

// stdoutOf is a Pipe on another descriptor than 1.
func stdoutOf(f *os.File) *Pipe {
	var st syscall.Stat_t
	fifo := syscall.Fstat(int(f.Fd()), &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFIFO
	return &Pipe{path: "stdout", fd: int(f.Fd()), keep: true, fifo: fifo}
}

func TestStdout(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := stdoutOf(out)
	r := sample()
	n := 0
	for ; err == nil && n < 10000; n++ {
		err = p.Write(&r)
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("after %d beats nobody read: %v", n, err)
	}
	in.Close()
	if err := p.Write(&r); !errors.Is(err, ErrEnded) {
		t.Errorf("the only reader has gone: %v", err)
	}

	path := filepath.Join(tempDir(t), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	named, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	both.Close()
	if err := stdoutOf(named).Write(&r); !errors.Is(err, ErrNobody) {
		t.Errorf("a FIFO without a reader: %v", err)
	}

	file, err := os.Create(filepath.Join(tempDir(t), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p = stdoutOf(file)
	for range 3 {
		if err := p.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file.Name()); err != nil || string(b) != strings.Repeat(sampleText+"\n", 3) {
		t.Errorf("%q, %v", b, err)
	}
}
