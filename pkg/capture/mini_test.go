package capture

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vigil/pkg/corefile"
	"vigil/pkg/gate"
	"vigil/pkg/procfs"
	"vigil/pkg/unwind"
)

func (l *live) mini(t *testing.T, opt Options) (core string, r *Report) {
	t.Helper()
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	core = filepath.Join(t.TempDir(), "mini.core")
	opt.Mode = "mini"
	if r, err = target.Save(context.Background(), core, opt, About{Build: "test"}); err != nil {
		t.Fatal(err)
	}
	return core, r
}

// With the program at hand, gdb sees in a mini core all threads, with the frames
// that it sees in the stopped process, and the libraries, and complains about
// nothing that it does not complain about in a whole core.
func TestMini(t *testing.T) {
	gate.Need(t, "gdb", "gcc", "elfutils", "ptrace")
	l := start(t, "threads")
	eventually(t, "it rests", func() bool { return l.state(t).State == 'S' })
	l.stop(t)
	core, r := l.mini(t, Options{})
	st, err := os.Stat(core)
	if err != nil || r.Threads != 50 || r.Mode != "mini" || r.Partial != "" || r.Size != st.Size() || st.Size() > 1<<20 {
		t.Errorf("report %+v, %v, %v", r, st, err)
	}
	if len(r.BuildIDs) < 4 { // the program, libc, the loader, the vdso
		t.Errorf("build ids %v", r.BuildIDs)
	}
	whole, _ := l.capture(t)
	for _, command := range []string{"thread apply all bt", "info sharedlibrary"} {
		ours, theirs := byThread(gdb(t, l.Path, core, command)), byThread(gdb(t, l.Path, whole, command))
		for lwp, want := range theirs {
			if got := ours[lwp]; got != want {
				t.Errorf("%s: thread %s:\n%s\nwant:\n%s", command, lwp, got, want)
			}
		}
	}
	bt := func(args ...string) map[string]string {
		out, err := exec.Command("gdb", append([]string{"-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set width 0", "-ex", "thread apply all bt"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("gdb: %v: %s", err, out)
		}
		return byThread(string(out))
	}
	ours, alive := bt(l.Path, core), bt("-p", strconv.Itoa(l.pid))
	frames := 0
	for lwp, want := range alive {
		if lwp == "" {
			continue
		}
		want, _, _ = strings.Cut(want, "[Inferior")
		got := ours[lwp]
		if strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("thread %s:\n%s\nwant:\n%s", lwp, got, want)
		}
		frames += strings.Count(got, "\n#")
	}
	if len(ours) != 51 || frames < 300 {
		t.Errorf("%d threads, %d frames", len(ours)-1, frames)
	}
	cmd := exec.Command("eu-readelf", "-n", core)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err != nil || stderr.Len() > 0 || len(regexp.MustCompile(`(?m)^  CORE +\d+  PRSTATUS$`).FindAll(out, -1)) != 50 {
		t.Errorf("eu-readelf: %v: %s", err, &stderr)
	}
}

// What does not fit is cut, or refused, never more than was allowed.
func TestMiniOfLimitedSize(t *testing.T) {
	l := start(t, "calls")
	if _, r := l.mini(t, Options{MaxSize: 300 << 10}); r.Size > 300<<10 {
		t.Errorf("report %+v", r)
	}
	target, err := Open(l.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if r, err := target.Stream(context.Background(), io.Discard, Options{Mode: "mini", MaxSize: 1000}); err == nil || !strings.Contains(err.Error(), "more than the 1000") {
		t.Errorf("%+v, %v", r, err)
	}
	l.goesOn(t)
}

// It does not grow with the memory, and the process goes on.
func TestMiniOfLargeProcess(t *testing.T) {
	l := start(t, "big", "100")
	_, r := l.mini(t, Options{})
	if r.Size > 300<<10 || l.state(t).TracerPID != 0 {
		t.Errorf("report %+v", r)
	}
}

func TestShare(t *testing.T) {
	k := 1 << 10
	for _, c := range []struct {
		sizes       []int
		total, want int
	}{
		{nil, 100 * k, stackFloor},
		{[]int{30 * k, 20 * k}, 100 * k, 30 * k},
		{[]int{200 * k, 20 * k, 20 * k}, 100 * k, 60 * k},
		{[]int{200 * k, 200 * k}, 100 * k, 50 * k},
		{[]int{200 * k, 200 * k}, 10 * k, stackFloor},
	} {
		if got := share(c.sizes, c.total); got != c.want {
			t.Errorf("%v: %d, want %d", c.sizes, got, c.want)
		}
	}
}

func TestMiniSegments(t *testing.T) {
	piece := func(at uint64, s string) unwind.Piece { return unwind.Piece{Base: at, Bytes: []byte(s)} }
	k := keeping{
		maps: []procfs.Mapping{{Start: 0x1000, End: 0x2000, Perm: "r-xp"}, {Start: 0x2000, End: 0x3000, Perm: "rw-p"}, {Start: 0x5000, End: 0x6000, Perm: "rw-p"}, {Start: 0xffffffffff600000, End: 0xffffffffff601000, Perm: "--xp", Name: "[vsyscall]"}},
		kept: []unwind.Piece{piece(0x5ff8, "end"), piece(0x2004, "inner"), piece(0x2000, "whole piece"), piece(0x2008, "ece+more"), piece(0x1ffc, "over"), piece(0x5000, "begin"), piece(0x4000, "nowhere")},
	}
	segments, parts := k.segments()
	type want struct {
		at, size uint64
		flags    uint32
		part     string
	}
	wants := []want{
		{0x1000, 0xffc, corefile.Read | corefile.Execute, ""}, {0x1ffc, 4, corefile.Read | corefile.Execute, "over"},
		{0x2000, 11, corefile.Read | corefile.Write, "whole piece"}, {0x200b, 5, corefile.Read | corefile.Write, "+more"},
		{0x5000, 5, corefile.Read | corefile.Write, "begin"}, {0x5ff8, 3, corefile.Read | corefile.Write, "end"},
	}
	if len(segments) != len(wants) {
		t.Fatalf("%+v", segments)
	}
	for i, w := range wants {
		if s := segments[i]; s.Address != w.at || s.MemSize != w.size || s.Flags != w.flags || s.FileSize != uint64(len(w.part)) || string(parts[i]) != w.part {
			t.Errorf("%+v %q, want %+v", s, parts[i], w)
		}
	}
}

// FuzzLinkMap follows a list that the process may have damaged.
func FuzzLinkMap(f *testing.F) {
	auxv := []byte{3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}
	mem := make([]byte, 0x600)
	le.PutUint32(mem[0x100:], ptDynamic)
	le.PutUint64(mem[0x110:], 0x200)
	le.PutUint64(mem[0x128:], 0x20)
	le.PutUint64(mem[0x200:], dtDebug)
	le.PutUint64(mem[0x208:], 0x300)
	le.PutUint64(mem[0x308:], 0x400)
	le.PutUint64(mem[0x408:], 0x500)
	le.PutUint64(mem[0x418:], 0x400) // a ring
	copy(mem[0x500:], "libc.so")
	f.Add(auxv, mem)
	f.Fuzz(func(t *testing.T, auxv, mem []byte) {
		calls := 0
		linkMap(bytes.NewReader(mem), auxv, func(addr, size uint64) {
			if calls++; calls > 2*maxEntries+2 || size > maxDynamic || addr+size > uint64(len(mem)) {
				t.Fatalf("call %d: %#x, %#x", calls, addr, size)
			}
		})
	})
}
