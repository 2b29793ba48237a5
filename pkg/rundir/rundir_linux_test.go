package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/pkg/gate"
)

func open(t *testing.T) (*Dir, string) {
	t.Helper()
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{0o777, 0o775, 0o702, fs.ModeSticky | 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), dir+": directory has mode") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
}

func TestOpenRefusesForeign(t *testing.T) {
	gate.Need(t, "root")
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("foreign directory: %v", err)
	}
}

func TestReadOnlyRegular(t *testing.T) {
	d, path := open(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(path, "file"), []byte("hello"), 0o600))
	must(os.Symlink("file", filepath.Join(path, "link")))
	must(syscall.Mkfifo(filepath.Join(path, "fifo"), 0o600))
	must(os.Mkdir(filepath.Join(path, "dir"), 0o755))
	b, st, err := d.Read("file", 5)
	if string(b) != "hello" || err != nil || st.Size != 5 || st.UID != os.Geteuid() || st.Nlink != 1 || st.Mode != 0o600 {
		t.Errorf("file: %q, %+v, %v", b, st, err)
	}
	if b, _, err := d.Read("file", 4); string(b) != "hell" || !errors.Is(err, ErrTooLong) {
		t.Errorf("over the limit: %q, %v", b, err)
	}
	for _, name := range []string{"link", "fifo", "dir"} {
		if _, _, err := d.Read(name, 5); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
		// For writing, a FIFO without a reader says ENXIO, a directory EISDIR.
		if _, _, err := d.OpenFile(name, os.O_RDWR); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s for writing: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x", "nul\x00"} {
		if _, _, err := d.Read(name, 5); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("read %q: %v", name, err)
		}
		if err := d.Write(name, nil, 0o600); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("write %q: %v", name, err)
		}
		if err := d.Remove(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
}

func TestWriteReplacesAndCreateDoesNot(t *testing.T) {
	d, path := open(t)
	old := syscall.Umask(0o777)
	defer syscall.Umask(old)
	if err := d.Create("x", []byte("one"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := d.Create("x", []byte("two"), 0o640); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	if b, st, _ := d.Read("x", 9); string(b) != "one" || st.Mode != 0o640 {
		t.Errorf("after create: %q, mode %v", b, st.Mode)
	}
	if err := d.Write("x", []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, st, _ := d.Read("x", 9); string(b) != "three" || st.Mode != 0o600 {
		t.Errorf("after write: %q, mode %v", b, st.Mode)
	}
	if err := d.Remove("x"); err != nil {
		t.Error(err)
	}
	if err := d.Remove("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second remove: %v", err)
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCreateHasOneWinner(t *testing.T) {
	d, _ := open(t)
	var wg sync.WaitGroup
	wins := make(chan string, 32)
	for i := range 32 {
		wg.Go(func() {
			text := fmt.Sprint(i)
			switch err := d.Create("x", []byte(text), 0o600); {
			case err == nil:
				wins <- text
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(wins)
	if len(wins) != 1 {
		t.Fatalf("%d winners", len(wins))
	}
	won := <-wins
	if b, _, err := d.Read("x", 9); string(b) != won {
		t.Errorf("winner wrote %q, file holds %q, %v", won, b, err)
	}
	if names, err := d.Names(); err != nil || len(names) != 1 {
		t.Errorf("names %v, %v", names, err)
	}
}

func TestFullDiskLeavesTheOldText(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	path := t.TempDir()
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size=16k,mode=755"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(path, syscall.MNT_DETACH)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Write("x", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("x", make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
	if names, err := d.Names(); len(names) != 1 || err != nil {
		t.Errorf("names %v, %v", names, err)
	}
	if b, _, err := d.Read("x", 9); string(b) != "old" || err != nil {
		t.Errorf("after a full disk: %q, %v", b, err)
	}
}

func TestCreateOpen(t *testing.T) {
	d, path := open(t)
	refuse := errors.New("refused")
	if _, err := d.CreateOpen("x", nil, 0o600, func(*os.File) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("setup's refusal came back as %v", err)
	}
	f, err := d.CreateOpen("x", []byte("abc"), 0o600, func(*os.File) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("X"), 0); err != nil {
		t.Error(err)
	}
	if b, _, _ := d.Read("x", 9); string(b) != "Xbc" {
		t.Errorf("file holds %q", b)
	}
	if names, _ := d.Names(); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if d.Gone() {
		t.Error("gone while it is there")
	}
	os.RemoveAll(path)
	if !d.Gone() {
		t.Error("not gone after its removal")
	}
}

// A device is refused unopened: a FIFO whose reader would be released by an
// open stands for it.
func TestOpenKind(t *testing.T) {
	_, dir := open(t)
	file, fifo, link := filepath.Join(dir, "file"), filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path  string
		flags int
		kind  uint32
		want  error
	}{
		{file, os.O_RDONLY, syscall.S_IFREG, nil},
		{fifo, os.O_RDWR, syscall.S_IFIFO, nil},
		{link, os.O_RDWR, syscall.S_IFIFO, nil},
		{fifo, os.O_RDONLY, syscall.S_IFREG, ErrNotRegular},
		{link, os.O_RDONLY, syscall.S_IFREG, ErrNotRegular},
		{"/dev/null", os.O_RDONLY, syscall.S_IFREG, ErrNotRegular},
		{"/dev/null", os.O_RDWR, syscall.S_IFIFO, errNotFIFO},
		{dir + "/none", os.O_RDONLY, syscall.S_IFREG, fs.ErrNotExist},
		{dir + "/new", os.O_RDWR | os.O_CREATE, syscall.S_IFREG, nil},
	} {
		f, err := OpenKind(tt.path, tt.flags, tt.kind)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s as %o: %v, want %v", tt.path, tt.kind, err, tt.want)
		}
		if err == nil {
			f.Close()
		}
	}
}
