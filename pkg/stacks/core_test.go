package stacks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vigil/pkg/capture"
	"vigil/pkg/corefile"
	"vigil/pkg/gate"
	"vigil/pkg/jsonline"
	"vigil/pkg/unwind"
)

var (
	gdbThread = regexp.MustCompile(`^Thread \d+ \(.*LWP (\d+)\b`)
	gdbFrame  = regexp.MustCompile(`^#\d+ +(?:0x[0-9a-f]+ in )?([^ ]+) `)
)

// gdbFunctions is what gdb's backtraces name, by thread.
func gdbFunctions(t *testing.T, args ...string) map[int][]string {
	t.Helper()
	cmd := exec.Command("gdb", append([]string{"-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off", "-ex", "set width 0",
		"-ex", "set backtrace past-main on", "-ex", "set backtrace past-entry on", "-ex", "set print entry-values no", "-ex", "thread apply all bt"}, args...)...)
	cmd.Stderr = t.Output()
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("gdb: %v", err)
	}
	out := map[int][]string{}
	tid := 0
	for line := range strings.Lines(string(text)) {
		if m := gdbThread.FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
		} else if m := gdbFrame.FindStringSubmatch(line); m != nil && tid != 0 {
			out[tid] = append(out[tid], m[1])
		}
	}
	return out
}

func open(t *testing.T, core string) *Process {
	t.Helper()
	f, err := os.Open(core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := FromCore(f, core, DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All cores of a process that stands tell what was told of it alive, and gdb
// says the same of our core.
func TestCores(t *testing.T) {
	gate.Need(t, "gdb", "gcc", "ptrace")
	for _, args := range [][]string{{"threads", "50"}, {"altstack"}, {"jit"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			pid := target(t, args...)
			freeze(t, pid)
			want := live(t, pid)
			dir := t.TempDir()
			ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "gcore")
			tg, err := capture.Open(pid, false)
			if err != nil {
				t.Fatal(err)
			}
			defer tg.Close()
			if _, err := tg.Save(context.Background(), ours, capture.Options{}, capture.About{Build: "test"}); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("gcore", "-o", theirs, strconv.Itoa(pid)).CombinedOutput(); err != nil {
				t.Fatalf("gcore: %v: %s", err, out)
			}
			mini := filepath.Join(dir, "mini")
			if _, err := tg.Save(context.Background(), mini, capture.Options{Mode: "mini"}, capture.About{Build: "test"}); err != nil {
				t.Fatal(err)
			}
			for _, core := range []string{ours, mini, theirs + "." + strconv.Itoa(pid)} {
				p := open(t, core)
				same(t, lines(p), lines(want))
				if p.PID != pid || p.Comm != want.Comm {
					t.Errorf("%s: PID %d, %s", core, p.PID, p.Comm)
				}
			}
			if args[0] == "jit" {
				return // gdb guesses a frame too many there
			}
			path, _ := buildTarget()
			byGDB := gdbFunctions(t, path, ours)
			for _, th := range open(t, ours).Threads {
				var got []string
				for _, f := range th.Frames {
					got = append(got, nameOf(f))
				}
				if g, w := alias.Replace(strings.Join(got, " ")), alias.Replace(strings.Join(byGDB[th.TID], " ")); g != w {
					t.Errorf("thread %d: %s\nwant %s", th.TID, g, w)
				}
			}
		})
	}
}

// nameOf is how gdb names what it does not know.
func nameOf(f unwind.Frame) string {
	switch f.Func {
	case "":
		return "??"
	case "__restore_rt":
		return "<signal" // handler called>
	}
	return f.Func
}

// alias unites names for the same code, of which gdb takes another: it reads
// libc's debugging information where that is installed.
var alias = strings.NewReplacer("__GI___clone3", "clone3", "__clone3", "clone3", "__libc_start_main_impl", "__libc_start_main", "__libc_pause", "pause")

func TestRender(t *testing.T) {
	mod := &unwind.Module{Name: "/lib/x\n", BuildID: []byte{0xab, 0xcd}}
	p := &Process{PID: 7, Comm: "a\x1b", Core: "c", Threads: []Thread{
		{TID: 7, Signal: 11, Stack: unwind.Stack{End: unwind.Complete, Frames: []unwind.Frame{{PC: 0x401010, Module: mod, Offset: 0x1010, Func: "f", Start: 0x1000}}}},
		{TID: 8, Comm: "w", State: 'D', Stack: unwind.Stack{End: unwind.NoProcess, Frames: []unwind.Frame{{PC: 0x10}}}},
	}}
	var b bytes.Buffer
	if err := p.Text(&b); err != nil {
		t.Fatal(err)
	}
	want := "PID 7 - a\\x1b, threads: 2, core c\nTID 7, signal 11:\n#0   0x0000000000401010 f+0x10 (/lib/x\\n)\n" +
		"TID 8 w:\n#0   0x0000000000000010 ?\n     ... the thread could not be stopped (state D)\n"
	if b.String() != want {
		t.Errorf("%s\nwant %s", &b, want)
	}
	b.Reset()
	if err := p.JSON(&b); err != nil {
		t.Fatal(err)
	}
	want = `{"schema":"vigil.stacks/1","process.pid":7,"process.command":"a\u001b","core":"c","threads":2}` + "\n" +
		`{"thread.id":7,"signal":11,"end":"complete","frames":[{"address":"0x401010","code.function.name":"f","code.function.offset":16,"mapping.filename":"/lib/x\u000a","mapping.build_id":"abcd","mapping.address":"0x1010"}]}` + "\n" +
		`{"thread.id":8,"thread.name":"w","state":"D","end":"not_stopped","frames":[{"address":"0x10"}]}` + "\n"
	if b.String() != want {
		t.Errorf("%s\nwant %s", &b, want)
	}
	for end := range map[unwind.End]bool{unwind.Limit: true, unwind.NoMemory: true, unwind.NoRule: true, unwind.Switch: true, unwind.NoProcess: true} {
		if reasons[end] == "" {
			t.Errorf("%s: no words for it", end)
		}
	}
}

// made is a small core of one thread with a stack.
func made() []byte {
	regs := make([]byte, 27*8)
	notes := corefile.AppendNote(nil, corefile.Note{Name: "CORE", Type: corefile.NTPrstatus, Desc: corefile.AppendPrstatus(nil, corefile.Prstatus{PID: 5, Signal: 11, Regs: regs})})
	notes = corefile.AppendNote(notes, corefile.Note{Name: "CORE", Type: corefile.NTPrpsinfo, Desc: corefile.AppendPrpsinfo(nil, corefile.Prpsinfo{PID: 5, Name: "made"})})
	notes = corefile.AppendNote(notes, corefile.Note{Name: "CORE", Type: corefile.NTFile, Desc: corefile.AppendFile(nil, 4096, []corefile.FileMapping{{Start: 0, End: 0x1000, Name: "/x"}})})
	head, size, err := corefile.Lay(corefile.MachineX8664, notes, []corefile.Segment{{Address: 0, MemSize: 0x1000, FileSize: 0x200, Flags: corefile.Read | corefile.Execute}}, 8)
	if err != nil {
		panic(err)
	}
	return append(head, make([]byte, int(size)-len(head))...)
}

func TestBadCores(t *testing.T) {
	good := made()
	if p, err := FromCore(bytes.NewReader(good), "c", 10); err != nil || p.PID != 5 || p.Comm != "made" || len(p.Threads) != 1 || p.Threads[0].Signal != 11 {
		t.Errorf("%+v, %v", p, err)
	}
	foreign := bytes.Clone(good)
	foreign[18] = 8 // MIPS
	empty, _, _ := corefile.Lay(corefile.MachineX8664, nil, nil, 8)
	for want, b := range map[string][]byte{
		"c: not a 64-bit ELF core":                              []byte("PID 5"),
		"c: core: of machine 8, which is not known here":        foreign,
		"c: core: no thread in it":                              empty,
		"c: core: program headers: offset 0x40: unexpected EOF": good[:0x90],
	} {
		if _, err := FromCore(bytes.NewReader(b), "c", 10); fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzFromCore reads any bytes as a core, and as the files that it names.
func FuzzFromCore(f *testing.F) {
	f.Add(made())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := fromCore(bytes.NewReader(b), "c", 20, func(unwind.Mapping) []string { return nil })
		if err != nil {
			return
		}
		frames := 0
		for _, th := range p.Threads {
			frames += len(th.Frames)
		}
		if len(p.Threads)*100 > len(b) || frames > 20*len(p.Threads) {
			t.Errorf("%d threads, %d frames out of %d bytes", len(p.Threads), frames, len(b))
		}
		var out bytes.Buffer
		if err := p.JSON(&out); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if err := jsonline.Parse(line, func(string, jsonline.Value) error { return nil }); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}
