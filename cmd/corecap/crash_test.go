package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
)

// backtrace is what gdb says of the thread that crashed.
func backtrace(t *testing.T, program, core string) string {
	t.Helper()
	out, err := exec.Command("gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "bt", program, core).CombinedOutput()
	if err != nil {
		t.Fatalf("gdb: %v: %s", err, out)
	}
	return string(out)
}

// Every way to crash: gdb, the stacks and the description name the function and
// the signal.
func TestCrashKinds(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "gdb")
	for _, test := range []struct {
		word    string
		signal  syscall.Signal
		frame   string
		threads int
		code    string
	}{
		{"segv", syscall.SIGSEGV, "store", 1, "SEGV_MAPERR"},
		{"abrt", syscall.SIGABRT, "abort", 1, "SI_TKILL"},
		{"bus", syscall.SIGBUS, "store", 1, "BUS_ADRERR"},
		{"deep", syscall.SIGSEGV, "deep", 1, "SEGV_MAPERR"},
		{"threads", syscall.SIGSEGV, "store", 201, "SEGV_MAPERR"},
		{"orphan", syscall.SIGSEGV, "store", 1, "SEGV_MAPERR"},
	} {
		t.Run(test.word, func(t *testing.T) {
			k := newKcore(t)
			pid := k.run(t, exec.Command(k.dir+"/crash", test.word), test.signal)
			base := k.one(t)
			if bt := backtrace(t, k.dir+"/crash", base+".core"); !strings.Contains(bt, test.frame+" (") || !strings.Contains(bt, "main") && test.word != "deep" && test.word != "orphan" {
				t.Errorf("gdb: %s", bt)
			}
			stacks, err := os.ReadFile(base + ".stacks")
			if err != nil || !strings.Contains(string(stacks), " "+test.frame) {
				t.Errorf("stacks: %v\n%.2000s", err, stacks)
			}
			if n := strings.Count(string(stacks), "\nTID "); n != test.threads && test.word != "orphan" {
				t.Errorf("%d threads in the stacks, want %d", n, test.threads)
			}
			for name, want := range map[string]string{
				"schema": "vigil.capture/1", "pid": strconv.Itoa(pid), "mode": "crash", "partial": "", "unread_bytes": "0", "mode_reason": "",
				"crash.signal.number": strconv.Itoa(int(test.signal)), "crash.signal.code_name": test.code, "crash.number": "1", "crash.args_count": "2",
				"comm": "crash", "crash.cgroup": member(t, base+".json", "crash.cgroup"), "dumpable": "true",
			} {
				if got := member(t, base+".json", name); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
			if args := member(t, base+".json", "crash.args"); strings.Contains(args, test.word) {
				t.Errorf("arguments are told: %s", args)
			}
		})
	}
}

// The same crash both ways: a handler that first keeps what the kernel gives, all of
// it, while the process waits, and then lets corecap save it. Both cores must be
// equal in every byte, and ours must be the smaller one on the disk.
func TestCrashAsTheKernels(t *testing.T) {
	for _, word := range []string{"segv", "zoo", "threads"} {
		t.Run(word, func(t *testing.T) {
			k := newKcore(t, "stacks no")
			k.script(t, "both", "exec 4<&0\n/bin/cat >"+k.dir+"/kernel.core\nexec "+k.dir+"/corecap \"$@\" <"+k.dir+"/kernel.core\n")
			k.crash(t, word)
			base := k.one(t, ".core", ".json")
			ours, err := os.ReadFile(base + ".core")
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := os.ReadFile(k.dir + "/kernel.core")
			if err != nil {
				t.Fatal(err)
			}
			if mode := member(t, base+".json", "mode"); mode != "crash" {
				t.Errorf("mode %s", mode)
			}
			if len(ours) != len(theirs) {
				t.Fatalf("%d bytes, the kernel's has %d", len(ours), len(theirs))
			}
			for at := 0; at < len(ours); at += 4096 {
				end := min(at+4096, len(ours))
				if !bytes.Equal(ours[at:end], theirs[at:end]) {
					t.Fatalf("the page at offset %#x is another one", at)
				}
			}
		})
	}
}

// A process with much reserved and little used takes what it uses.
func TestCrashSparse(t *testing.T) {
	k := newKcore(t)
	k.crash(t, "sparse")
	base := k.one(t)
	st, err := os.Stat(base + ".core")
	if err != nil {
		t.Fatal(err)
	}
	const touched = 64 << 20
	if disk := st.Sys().(*syscall.Stat_t).Blocks * 512; st.Size() < 8<<30 || disk < touched || disk > touched*101/100 {
		t.Errorf("size %d, %d bytes on disk for %d touched", st.Size(), disk, touched)
	}
}

func TestCrashLanguages(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "gdb", "python3")
	t.Run("go", func(t *testing.T) {
		k := newKcore(t)
		source := filepath.Join(k.dir, "main.go")
		text := "package main\n\nfunc main() { crashes(nil) }\n\n//go:noinline\nfunc crashes(p *int) {\n\tprintln(\"now\")\n\t*p = 1\n}\n"
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "build", "-o", k.dir+"/gocrash", source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		cmd := exec.Command(k.dir + "/gocrash")
		cmd.Env = append(os.Environ(), "GOTRACEBACK=crash")
		k.run(t, cmd, syscall.SIGABRT)
		base := k.one(t)
		if b, err := os.ReadFile(base + ".stacks"); err != nil || !strings.Contains(string(b), " main.crashes") || !strings.Contains(string(b), " runtime.main") {
			t.Errorf("stacks: %v\n%s", err, b)
		}
		if bt := backtrace(t, k.dir+"/gocrash", base+".core"); !strings.Contains(bt, "main.crashes") {
			t.Errorf("gdb: %s", bt)
		}
	})
	t.Run("python", func(t *testing.T) {
		k := newKcore(t)
		k.run(t, exec.Command("python3", "-c", "import ctypes; ctypes.string_at(0)"), syscall.SIGSEGV)
		base := k.one(t)
		if b, err := os.ReadFile(base + ".stacks"); err != nil || !regexp.MustCompile(`(?m)^#\d+ +0x[0-9a-f]+ _?PyEval`).Match(b) {
			t.Errorf("stacks: %v\n%.3000s", err, b)
		}
	})
}

// A process in a pid namespace of its own: both its numbers are told, and its
// core is read from the process.
func TestCrashInNamespace(t *testing.T) {
	k := newKcore(t)
	cmd := exec.Command(k.dir+"/crash", "segv")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	pid := k.run(t, cmd, syscall.SIGSEGV)
	base := k.one(t)
	if got, want := member(t, base+".json", "crash.pid_in_namespaces"), "["+strconv.Itoa(pid)+",1]"; got != want {
		t.Errorf("numbers %s, want %s", got, want)
	}
	if mode := member(t, base+".json", "mode"); mode != "crash" {
		t.Errorf("mode %s", mode)
	}
}

func (k *kcore) owner(t *testing.T, path string) (uid uint32, mode os.FileMode) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Uid, st.Mode()
}

// The files belong to the user of the process; to root where they could hold what
// that user must not see.
func TestCrashOwner(t *testing.T) {
	const user = 12345
	as := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		return cmd
	}
	t.Run("user", func(t *testing.T) {
		k := newKcore(t)
		k.run(t, as(exec.Command(k.dir+"/crash")), syscall.SIGSEGV)
		base := k.one(t)
		for _, suffix := range []string{".core", ".json", ".stacks"} {
			if uid, mode := k.owner(t, base+suffix); uid != user || mode.Perm() != 0o600 {
				t.Errorf("%s: uid %d, mode %v", suffix, uid, mode)
			}
		}
		if b, err := os.ReadFile(base + ".stacks"); err != nil || !strings.Contains(string(b), " store") {
			t.Errorf("stacks: %v\n%s", err, b)
		}
	})
	t.Run("set-uid", func(t *testing.T) {
		k := newKcore(t)
		put(t, dumpableFile, "2")
		b, err := os.ReadFile(k.dir + "/crash")
		if err != nil {
			t.Fatal(err)
		}
		// Not on a file system that is mounted nosuid.
		path := filepath.Join(k.dir, "suid")
		if err := executable.Write(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
		k.run(t, as(exec.Command(path)), syscall.SIGSEGV)
		base := k.one(t)
		for _, suffix := range []string{".core", ".json", ".stacks"} {
			if uid, mode := k.owner(t, base+suffix); uid != 0 || mode.Perm() != 0o600 {
				t.Errorf("%s: uid %d, mode %v", suffix, uid, mode)
			}
		}
		if got := member(t, base+".json", "dumpable"); got != "false" {
			t.Errorf("dumpable %s", got)
		}
		if got := member(t, base+".json", "uid"); got != "0" {
			t.Errorf("effective uid %s", got)
		}
	})
}

// A crash loop of 100 at once: all are counted, the first and the last are kept.
func TestCrashLoop(t *testing.T) {
	k := newKcore(t, "stacks no", "window 10m")
	const crashes = 100
	k.crash(t)
	var all sync.WaitGroup
	limit := make(chan struct{}, 50)
	for range crashes - 1 {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			cmd := exec.Command(k.dir + "/crash")
			k.start(t, cmd)
			if err := cmd.Wait(); err == nil {
				t.Error("it did not crash")
			}
		})
	}
	all.Wait()
	names := k.settle(t)
	if len(names) != 4 {
		t.Fatalf("files %q\nlog: %s", names, k.log(t))
	}
	var numbers []string
	for _, name := range names {
		if strings.HasSuffix(name, ".json") {
			numbers = append(numbers, member(t, filepath.Join(k.spool, name), "crash.number"))
		}
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []string{"1", strconv.Itoa(crashes)}) {
		t.Errorf("kept are the crashes %q", numbers)
	}
	// Others on this machine may crash, too.
	if log := k.log(t); strings.Count(log, ": crash: crashed") != crashes {
		t.Errorf("%d crashes in the log, want %d:\n%.3000s", strings.Count(log, ": crash: crashed"), crashes, log)
	}
}
