package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/corefile"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

const page = 4096

func TestKeep(t *testing.T) {
	const normal = 0x33 // the kernel's default filter
	anon := procfs.Mapping{Perm: "rw-p", RSS: page}
	file := procfs.Mapping{Perm: "r--p", Inode: 7, Name: "/lib/x"}
	with := func(m procfs.Mapping, f func(*procfs.Mapping)) procfs.Mapping { f(&m); return m }
	for _, c := range []struct {
		name   string
		m      procfs.Mapping
		filter uint64
		want   extent
	}{
		{"anonymous", anon, normal, populated},
		{"anonymous, not wanted", anon, normal &^ dumpAnonPrivate, nothing},
		{"anonymous, untouched", procfs.Mapping{Perm: "rw-p"}, normal, nothing},
		{"anonymous, swapped out", procfs.Mapping{Perm: "rw-p", Swap: page}, normal, populated},
		{"no access", with(anon, func(m *procfs.Mapping) { m.Perm = "---p" }), normal, populated},
		{"DONTDUMP", with(anon, func(m *procfs.Mapping) { m.Flags = "rd wr dd ac" }), ^uint64(0), nothing},
		{"device", with(file, func(m *procfs.Mapping) { m.Flags = "rd io pf" }), ^uint64(0), nothing},
		{"vdso", procfs.Mapping{Perm: "r-xp", Name: "[vdso]", Flags: "rd ex de"}, 0, everything},
		{"vvar", procfs.Mapping{Perm: "r--p", Name: "[vvar]", RSS: page}, ^uint64(0), nothing},
		{"vvar_vclock", procfs.Mapping{Perm: "r--p", Name: "[vvar_vclock]", RSS: page}, ^uint64(0), nothing},
		{"file", file, normal, header},
		{"file, no headers", file, normal &^ dumpELFHeaders, nothing},
		{"file, all", file, normal | dumpFilePrivate, everything},
		{"file, later part", with(file, func(m *procfs.Mapping) { m.Offset = page }), normal, nothing},
		{"file, unreadable", with(file, func(m *procfs.Mapping) { m.Perm = "--xp" }), normal, nothing},
		{"file, written", with(file, func(m *procfs.Mapping) { m.Anonymous = page }), normal, everything},
		{"file, written and swapped", with(file, func(m *procfs.Mapping) { m.Swap = page }), normal, everything},
		{"shared file", with(file, func(m *procfs.Mapping) { m.Perm = "rw-s" }), normal, nothing},
		{"shared file, wanted", with(file, func(m *procfs.Mapping) { m.Perm = "rw-s" }), dumpFileShared, populated},
		{"shared, deleted", with(file, func(m *procfs.Mapping) { m.Perm = "rw-s"; m.Name = "/dev/zero (deleted)" }), normal, populated},
		{"shared, deleted, not wanted", with(file, func(m *procfs.Mapping) { m.Perm = "rw-s"; m.Name = "/dev/zero (deleted)" }), normal &^ dumpAnonShared, nothing},
		{"huge", with(anon, func(m *procfs.Mapping) { m.Flags = "ht"; m.RSS = 0 }), normal, populated},
		{"huge, shared", with(anon, func(m *procfs.Mapping) { m.Flags = "ht"; m.Perm = "rw-s" }), normal, nothing},
	} {
		if got := keep(c.m, c.filter); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// fakeMemory has content at some pages, cannot read others, and dies on demand.
type fakeMemory struct {
	pages  map[uint64]byte // by address; 0 is a page of zeroes
	dies   bool
	gentle int
}

func (f *fakeMemory) ReadAt(p []byte, addr int64) (n int, err error) {
	if f.dies {
		return 0, io.EOF
	}
	for n < len(p) {
		a := uint64(addr) + uint64(n)
		c, ok := f.pages[a/page*page]
		if !ok {
			return n, syscall.EIO
		}
		k := min(len(p)-n, int(page-a%page))
		copy(p[n:n+k], bytes.Repeat([]byte{c}, k))
		n += k
	}
	return n, nil
}

func (f *fakeMemory) Gentle(p []byte, addr int64) (int, error) {
	f.gentle++
	return f.ReadAt(p, addr)
}

func (f *fakeMemory) Present(start, end uint64, visit func(start, end uint64) error) error {
	for a := start; a < end; a += page {
		if _, ok := f.pages[a]; ok {
			if err := visit(a, a+page); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeMemory) Backed(m procfs.Mapping, visit func(start, end uint64) error) error {
	if m.Name == "forbidden (deleted)" {
		return fs.ErrPermission
	}
	return visit(m.Start, m.End)
}

// fakeOutput notes what is written, and refuses on demand.
type fakeOutput struct {
	b      []byte
	wrote  int
	refuse error
}

func (f *fakeOutput) SetSize(n int64) error { f.b = make([]byte, n); return f.refuse }
func (f *fakeOutput) Ordered() bool         { return true }
func (f *fakeOutput) WriteAt(p []byte, at int64) (int, error) {
	f.wrote += len(p)
	return copy(f.b[at:], p), f.refuse
}

func copyAll(t *testing.T, mem memory, out Output, pieces ...piece) (*copier, error) {
	t.Helper()
	c := newCopier(mem, out)
	err := c.run(context.Background(), buffers(out, 1), func(add func(piece) error) error {
		for _, p := range pieces {
			if err := add(p); err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

func TestCopy(t *testing.T) {
	mem := &fakeMemory{pages: map[uint64]byte{0x10000: 'a', 0x11000: 'b', 0x12000: 0, 0x13000: 'c', 0x15000: 'd', 0x20000: 'e'}}
	out := &fakeOutput{}
	out.SetSize(0x9000)
	c, err := copyAll(t, mem, out, piece{addr: 0x10000, size: 0x7000, at: 0x1000}, piece{addr: 0x20000, size: page, at: 0x8000, gentle: true})
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, b := range []byte{0, 'a', 'b', 0, 'c', 0, 'd', 0, 'e'} {
		want = append(want, bytes.Repeat([]byte{b}, page)...)
	}
	if !bytes.Equal(out.b, want) {
		t.Error("wrong content")
	}
	if c.unread.Load() != 2*page || c.written.Load() != 5*page || out.wrote != 5*page || mem.gentle != 1 {
		t.Errorf("unread %d, written %d, %d, gentle %d", c.unread.Load(), c.written.Load(), out.wrote, mem.gentle)
	}
}

func TestCopyLarge(t *testing.T) {
	mem := &fakeMemory{pages: map[uint64]byte{}}
	const n = 3*batchSize/page + 5
	var pieces []piece
	for i := uint64(0); i < n; i++ {
		mem.pages[i*page] = byte(i%250 + 1)
	}
	pieces = append(pieces, piece{addr: 0, size: n * page}) // more than a buffer
	for i := uint64(0); i < n; i += 2 {                     // more than a batch
		pieces = append(pieces, piece{addr: i * page, size: page, at: (n + i) * page})
	}
	var stored bytes.Buffer
	s := &stream{w: &stored, zero: make([]byte, 100)}
	if _, err := copyAll(t, mem, s, pieces...); err != nil {
		t.Fatal(err)
	}
	b := stored.Bytes()
	for i := range n {
		if b[i*page] != byte(i%250+1) || b[i*page+page-1] != b[i*page] {
			t.Fatalf("page %d", i)
		}
		if second := b[(n+i)*page]; i%2 == 0 && second != b[i*page] || i%2 == 1 && second != 0 {
			t.Fatalf("page %d of the second copy", i)
		}
	}
}

func TestCopyFails(t *testing.T) {
	full := &fakeOutput{refuse: syscall.ENOSPC}
	full.b = make([]byte, page)
	for name, c := range map[string]struct {
		mem  *fakeMemory
		out  *fakeOutput
		want error
	}{
		"full":   {&fakeMemory{pages: map[uint64]byte{0: 1}}, full, syscall.ENOSPC},
		"killed": {&fakeMemory{dies: true}, &fakeOutput{b: make([]byte, page)}, io.ErrUnexpectedEOF},
	} {
		if _, err := copyAll(t, c.mem, c.out, piece{size: page}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := &fakeOutput{b: make([]byte, page)}
	c := newCopier(&fakeMemory{pages: map[uint64]byte{0: 1}}, out)
	if err := c.run(ctx, buffers(out, 1), func(add func(piece) error) error { return add(piece{size: page}) }); !errors.Is(err, context.Canceled) || out.wrote > 0 {
		t.Errorf("%v, %d bytes written", err, out.wrote)
	}
}

func TestImage(t *testing.T) {
	mem := &fakeMemory{pages: map[uint64]byte{0x1000: 'x', 0x30000: 1, 0x32000: 2, 0x41000: 3, 0x51000: 4}}
	maps := []procfs.Mapping{
		{Start: 0x1000, End: 0x3000, Perm: "r--p", Inode: 1, Name: "/data"},
		{Start: 0x30000, End: 0x34000, Perm: "rw-p", RSS: page, Anonymous: page, Common: page},
		{Start: 0x40000, End: 0x42000, Perm: "rw-s", Inode: 2, Name: "memory (deleted)"},
		{Start: 0x50000, End: 0x54000, Perm: "rw-s", Inode: 2, Name: "forbidden (deleted)"},
		{Start: 0xffffffffff600000, End: 0xffffffffff601000, Perm: "--xp", Name: "[vsyscall]"},
	}
	img := newImage(maps, 0x33, mem)
	var sizes []uint64
	for i := range img.segments {
		img.segments[i].Offset = img.segments[i].Address + 0x100000
		sizes = append(sizes, img.segments[i].FileSize)
	}
	if want := []uint64{0, 0x4000, 0x2000, 0x4000}; !reflect.DeepEqual(sizes, want) {
		t.Fatalf("sizes %x", sizes)
	}
	if img.segments[1].Flags != corefile.Read|corefile.Write {
		t.Errorf("flags %x", img.segments[1].Flags)
	}
	c := newCopier(mem, &fakeOutput{})
	var got []piece
	if err := img.plan(mem, c, func(p piece) error { got = append(got, p); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []piece{
		{addr: 0x30000, size: page, at: 0x130000, gentle: true}, {addr: 0x32000, size: page, at: 0x132000, gentle: true},
		{addr: 0x40000, size: 2 * page, at: 0x140000}, {addr: 0x51000, size: page, at: 0x151000},
	}
	if !reflect.DeepEqual(got, want) || c.unread.Load() != 3*page {
		t.Errorf("pieces %+v, unread %d", got, c.unread.Load())
	}
}

func TestStream(t *testing.T) {
	var b bytes.Buffer
	s := &stream{w: &b, zero: make([]byte, 3)}
	if _, err := s.WriteAt([]byte("ab"), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("c"), 7); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("c"), 3); err == nil {
		t.Error("went back")
	}
	if err := s.fill(10); err != nil || b.String() != "\x00\x00\x00\x00\x00abc\x00\x00" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestDenial(t *testing.T) {
	mine, root := [4]int{1000, 1000, 1000, 1000}, [4]int{}
	for _, c := range []struct {
		name string
		d    denial
		want string
	}{
		{"foreign", denial{uid: 1000, target: root, dumpable: true}, "it runs as uid 0, this is uid 1000 without CAP_SYS_PTRACE"},
		{"half foreign", denial{uid: 1000, target: [4]int{1000, 1000, 0, 1000}, dumpable: true}, "without CAP_SYS_PTRACE"},
		{"not dumpable", denial{uid: 1000, target: mine}, "not dumpable"},
		{"Yama 1", denial{uid: 1000, target: mine, dumpable: true, scope: "1"}, "kernel.yama.ptrace_scope is 1, which leaves ptrace to root"},
		{"Yama 2", denial{uid: 1000, target: mine, dumpable: true, scope: "2"}, "ptrace_scope is 2"},
		{"Yama 3", denial{capable: true, target: mine, dumpable: true, scope: "3"}, "ptrace_scope is 3, which forbids"},
		{"seccomp", denial{capable: true, target: root, dumpable: true, filtered: true, scope: "1"}, "the seccomp profile"},
		{"container", denial{capable: true, target: root, dumpable: true, scope: "1"}, "security module"},
		{"else", denial{uid: 1000, target: mine, dumpable: true, scope: "0"}, "security module"},
	} {
		if got := c.d.reason(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestName(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.FixedZone("", 3600))
	for comm, want := range map[string]string{
		"svc-A.1": "svc-A.1_42_20260102T140405Z.core", "": "__42_20260102T140405Z.core", "../x y\n\xff": "_._x_y___42_20260102T140405Z.core",
		"-rf": "_rf_42_20260102T140405Z.core",
	} {
		if got := (&Target{PID: 42, Comm: comm}).Name(at); got != want {
			t.Errorf("%q: %s", comm, got)
		}
	}
}

func TestSidecar(t *testing.T) {
	for core, want := range map[string]string{"/a/x.core": "/a/x.json", "core.5": "core.5.json"} {
		if got := sidecarPath(core); got != want {
			t.Errorf("%s: %s", core, got)
		}
	}
	s := &Sidecar{
		Core:    "/a/x.core",
		Subject: Subject{PID: 5, Comm: "a\"b\xff\n", Exe: "/bin/x (deleted)", Dumpable: true},
		Report: Report{
			Mode: "stop", Reason: "small", Threads: 2, LeftOut: []ptrace.LeftOut{{TID: 7, State: 'D'}}, Shared: []Region{{0x1000, 0x2000, "/shm"}},
			Bytes: 10, Size: 20, Unread: 4096, Pause: 1500 * time.Microsecond, Time: time.Unix(0, 0), BootMS: 99, BuildIDs: []BuildID{{"/lib/c", 0x3000, "ab"}},
		},
		About: About{Build: "v1", Why: "w", Held: &Hold{"svc", "root", "gdb"}},
	}
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"schema":"vigil.capture/1","core":"x.core","pid":5,`, `"why":"w","held":{"id":"svc","by":"root","reason":"gdb"},"mode":"stop","mode_reason":"small","pause_us":1500,"threads":2,`,
		`"partial":"","left_out":[{"tid":7,"state":"D"}],"shared":[{"start":"0x1000","end":"0x2000","name":"/shm"}],"bytes":10,"size":20,"unread_bytes":4096,`,
		`"build_ids":[{"file":"/lib/c","start":"0x3000","id":"ab"}],"time":"1970-01-01T00:00:00.000Z","bt_ms":99,"boot":"`, `"build":"v1"}` + "\n",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	s.Held = nil
	if b, err = s.Append(nil); err != nil || !strings.Contains(string(b), `"held":null`) {
		t.Errorf("%s, %v", b, err)
	}
}
