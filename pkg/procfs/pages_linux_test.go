package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

type span struct{ start, end uint64 }

func collect(t *testing.T, walk func(visit func(start, end uint64) error) error) (runs []span) {
	t.Helper()
	if err := walk(func(start, end uint64) error { runs = append(runs, span{start, end}); return nil }); err != nil {
		t.Fatal(err)
	}
	return runs
}

func mapping(t *testing.T, b []byte) Mapping {
	t.Helper()
	addr := uint64(uintptr(unsafe.Pointer(&b[0])))
	maps, err := ReadSmaps(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Start <= addr && addr < m.End {
			return m
		}
	}
	t.Fatalf("no mapping at %#x", addr)
	return Mapping{}
}

func TestPresent(t *testing.T) {
	const pages = 1 << 16
	b, err := unix.Mmap(-1, 0, pages*int(PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if err := unix.Madvise(b, unix.MADV_NOHUGEPAGE); err != nil {
		t.Fatal(err)
	}
	base := uint64(uintptr(unsafe.Pointer(&b[0])))
	var want []span
	touch := func(from, to uint64) {
		for i := from; i < to; i++ {
			b[i*PageSize] = 1
		}
		want = append(want, span{base + from*PageSize, base + to*PageSize})
	}
	touch(0, 1)
	touch(2, 700)
	for i := uint64(1000); i < 3000; i += 2 { // more runs than one answer of the kernel holds
		touch(i, i+1)
	}
	touch(pages-1, pages)
	if err := unix.Madvise(b[5000*PageSize:5010*PageSize], 102); err != nil { // MADV_GUARD_INSTALL
		t.Log("no guard pages here:", err)
	}
	p, err := OpenPages(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	end := base + pages*PageSize
	walk := func(f func(start, end uint64, visit func(start, end uint64) error) error) []span {
		return collect(t, func(visit func(start, end uint64) error) error { return f(base, end, visit) })
	}
	if got := walk(p.read); !reflect.DeepEqual(got, want) {
		t.Errorf("pagemap: %d runs, want %d", len(got), len(want))
	}
	if got := walk(p.Present); !reflect.DeepEqual(got, want) {
		t.Errorf("%d runs, want %d", len(got), len(want))
	}
	stop := errors.New("stop")
	for _, f := range []func(start, end uint64, visit func(start, end uint64) error) error{p.read, p.Present} {
		if err := f(base, end, func(uint64, uint64) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
	}
}

// TestZero: what was only read is the page of zeroes; what was written is not, nor
// what is not there.
func TestZero(t *testing.T) {
	b, err := unix.Mmap(-1, 0, 8*int(PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	read := byte(0)
	for _, i := range []uint64{1, 2, 5} {
		read |= b[i*PageSize]
	}
	b[2*PageSize], b[6*PageSize] = 1, 1
	p, err := OpenPages(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	base := uint64(uintptr(unsafe.Pointer(&b[0])))
	q := Query{AnyOf: Present | Swapped, Returns: Zero}
	got, err := p.Scan(q, base, base+8*PageSize, make([]Region, 8), nil)
	if errors.Is(err, unix.ENOTTY) {
		return // before Linux 6.7, as documented
	}
	region := func(i, categories uint64) Region {
		return Region{Start: base + i*PageSize, End: base + (i+1)*PageSize, Categories: categories}
	}
	if want := []Region{region(1, Zero), region(2, 0), region(5, Zero), region(6, 0)}; err != nil || read != 0 || !slices.Equal(got, want) {
		t.Errorf("got  %x, %v\nwant %x", got, err, want)
	}
	q.Inverted, q.All = Zero, Zero
	got, err = p.Scan(q, base, base+8*PageSize, make([]Region, 8), nil)
	if want := []Region{region(2, 0), region(6, 0)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("without: got  %x, %v\nwant %x", got, err, want)
	}
}

func TestBacked(t *testing.T) {
	fd, err := unix.MemfdCreate("backed", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "backed")
	defer f.Close()
	if err := f.Truncate(100 * int64(PageSize)); err != nil {
		t.Fatal(err)
	}
	page := bytes.Repeat([]byte{1}, int(PageSize))
	for _, i := range []int64{3, 10, 11, 50} {
		if _, err := f.WriteAt(page, i*int64(PageSize)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := unix.Mmap(fd, 2*int64(PageSize), 49*int(PageSize), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	m := mapping(t, b)
	p, err := OpenPages(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var got []span
	err = p.Backed(m, func(start, end uint64) error { got = append(got, span{start, end}); return nil })
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return // as documented
	}
	at := func(from, to uint64) span { return span{m.Start + (from-2)*PageSize, m.Start + (to-2)*PageSize} }
	if want := []span{at(3, 4), at(10, 12), at(50, 51)}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if got := collect(t, func(visit func(start, end uint64) error) error { return p.Present(m.Start, m.End, visit) }); got != nil {
		t.Errorf("looking touched %x", got)
	}
}

// A process may always look into itself, so another one has to play the part.
func TestMain(m *testing.M) {
	if os.Getenv("PROCFS_TEST_DUMPABLE") != "" {
		for _, v := range []uintptr{0, 1} {
			unix.Prctl(unix.PR_SET_DUMPABLE, v, 0, 0, 0)
			os.Stdout.WriteString("done\n")
			os.Stdin.Read(make([]byte, 1))
		}
		return
	}
	os.Exit(m.Run())
}

func TestDumpable(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROCFS_TEST_DUMPABLE=1")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if _, err := out.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if got, err := Dumpable(cmd.Process.Pid, os.Geteuid()); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		in.Write([]byte{'\n'})
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
