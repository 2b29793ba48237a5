package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	programs "vigil/pkg/contract/executable"
)

// generous bounds what must come soon, on a machine that is busy otherwise.
const generous = 5 * time.Minute

type fixture struct {
	*Runner
	dir string
	out string // what the hooks write to their output

	mu    sync.Mutex
	warns []string
}

// start makes a runner for a script. The script finds its directory in $VIGIL_DIR.
func start(t *testing.T, script string, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	program := filepath.Join(f.dir, "hook")
	if err := programs.Write(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	f.out = filepath.Join(f.dir, "out")
	out, err := os.Create(f.out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	cfg := Config{
		Program: program, Timeout: generous, Jobs: 4, Keep: "HB_FROM", Output: out,
		Env: []string{"VIGIL_DIR=" + f.dir},
		Warn: func(text string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.warns = append(f.warns, text)
		},
	}
	if change != nil {
		change(&cfg)
	}
	before := runtime.NumGoroutine()
	f.Runner = New(cfg)
	t.Cleanup(func() {
		f.Close(generous)
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
			t.Errorf("a child is left: %d, %v", pid, err)
		}
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	return f
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, generous)
		}
	}
}

func (f *fixture) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(f.dir, name))
	return string(b)
}

func (f *fixture) warnings() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.warns
}

func (f *fixture) exists(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

func (f *fixture) touch(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// gone waits until the process whose pid the script wrote has ended.
func (f *fixture) gone(t *testing.T, name string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(f.read(name)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "process of "+name+" ends", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) })
}

// zombie tells whether a process waits for init: nobody here may reap it.
func zombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(b), ") Z ")
}

func TestBareEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	// A descriptor that is not close-on-exec, as a shell's 9>file leaves it.
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(null)
	f := start(t, `
tr '\0' '\n' </proc/$$/environ | sort
echo "args $#"
echo "cwd $(pwd)"
echo "stdin $(readlink /proc/$$/fd/0)"
echo "fds" $(ls /proc/$$/fd)
`, nil)
	f.Submit("a", []string{"HB_ID=a", "HB_TO=dead"})
	f.Close(generous)
	got := strings.Split(strings.TrimSpace(f.read("out")), "\n")
	want := []string{
		"HB_ID=a", "HB_TO=dead", "PATH=" + Path, "VIGIL_DIR=" + f.dir,
		"args 0", "cwd /", "stdin /dev/null",
	}
	if len(got) != len(want)+1 || !slices.Equal(got[:len(want)], want) {
		t.Fatalf("have %q\nwant %q and the descriptors", got, want)
	}
	// A shell keeps its script open under some number of its own.
	for fd := range strings.FieldsSeq(strings.TrimPrefix(got[len(want)], "fds")) {
		if fd == strconv.Itoa(null) {
			t.Errorf("descriptor %d reached the hook: %s", null, got[len(want)])
		}
	}
}

// TestCloseOnExec: by close_range, and as before Linux 5.11.
func TestCloseOnExec(t *testing.T) {
	for name, mark := range map[string]func(){"all": closeOnExec, "each": closeOnExecEach} {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		mark()
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("%s: flags %#x, %v", name, flags, errno)
		}
		if err := syscall.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCoalesce(t *testing.T) {
	f := start(t, `
echo "$HB_ID $HB_FROM>$HB_TO"
until [ -e "$VIGIL_DIR/go" ]; do sleep 0.02; done
`, nil)
	f.Submit("a", []string{"HB_ID=a", "HB_FROM=alive", "HB_TO=suspect"})
	eventually(t, "first run", func() bool { return f.read("out") != "" })
	for _, v := range [][2]string{{"suspect", "dead"}, {"dead", "alive"}, {"alive", "failed"}} {
		f.Submit("a", []string{"HB_ID=a", "HB_FROM=" + v[0], "HB_TO=" + v[1]})
	}
	f.touch(t, "go")
	if n := f.Close(generous); n != 0 {
		t.Errorf("%d runs dropped", n)
	}
	if got, want := f.read("out"), "a alive>suspect\na suspect>failed\n"; got != want {
		t.Errorf("have %q\nwant %q", got, want)
	}
}

func TestJobs(t *testing.T) {
	f := start(t, `
echo begin
until [ -e "$VIGIL_DIR/go" ]; do sleep 0.02; done
echo end
`, func(c *Config) { c.Jobs = 2 })
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		f.Submit(id, []string{"HB_ID=" + id})
	}
	eventually(t, "two runs", func() bool { return strings.Count(f.read("out"), "begin") == 2 })
	f.touch(t, "go")
	f.Close(generous)
	running, most := 0, 0
	for line := range strings.FieldsSeq(f.read("out")) {
		if line == "begin" {
			running++
		} else {
			running--
		}
		most = max(most, running)
	}
	if strings.Count(f.read("out"), "end") != 5 || most != 2 {
		t.Errorf("at most %d at a time; output %q", most, f.read("out"))
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct{ name, script string }{
		{"hangs", `echo $$ >"$VIGIL_DIR/pid"; exec sleep 1000`},
		{"forks and hangs", `sleep 1000 & echo $! >"$VIGIL_DIR/pid"; wait`},
		{"ignores TERM", `trap '' TERM; echo $$ >"$VIGIL_DIR/pid"; while :; do sleep 1; done`},
		{"its child ignores TERM", `
(trap '' TERM; while :; do sleep 1; done) &
echo $! >"$VIGIL_DIR/pid"
wait`},
		{"floods", `echo $$ >"$VIGIL_DIR/pid"; exec yes >/dev/fd/1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.script, func(c *Config) {
				c.Timeout = 300 * time.Millisecond
				if tt.name == "floods" {
					c.Output, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
					t.Cleanup(func() { c.Output.Close() })
				}
			})
			f.Submit("a", nil)
			eventually(t, "pid", func() bool { return strings.HasSuffix(f.read("pid"), "\n") || len(f.warnings()) > 0 })
			f.Close(generous)
			if f.read("pid") != "" { // on a slow machine TERM may come first
				f.gone(t, "pid")
			}
			if len(f.warns) != 1 || !strings.Contains(f.warns[0], "hook for a: stopped after 300ms") {
				t.Errorf("warnings %q", f.warns)
			}
		})
	}
}

// TestLeavesChildren: what a hook leaves behind in good time is its own
// affair, and does not keep the next run waiting.
func TestLeavesChildren(t *testing.T) {
	f := start(t, `
sleep 1000 &
echo $! >"$VIGIL_DIR/pid.$HB_TO"
`, nil)
	f.Submit("a", []string{"HB_TO=1"})
	eventually(t, "first run", func() bool { return f.exists("pid.1") })
	f.Submit("a", []string{"HB_TO=2"})
	f.Close(generous)
	for _, name := range []string{"pid.1", "pid.2"} {
		pid, err := strconv.Atoi(strings.TrimSpace(f.read(name)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailures(t *testing.T) {
	f := start(t, `exit 3`, nil)
	f.Submit("a", nil)
	f.Close(generous)
	if want := f.dir + "/hook: hook for a: exit status 3"; len(f.warns) != 1 || f.warns[0] != want {
		t.Errorf("have %q, want %q", f.warns, want)
	}

	f = start(t, "", nil)
	if err := os.Remove(f.dir + "/hook"); err != nil {
		t.Fatal(err)
	}
	f.Submit("a", nil)
	f.Close(generous)
	if want := f.dir + "/hook: hook for a: start: no such file or directory"; len(f.warns) != 1 || f.warns[0] != want {
		t.Errorf("have %q, want %q", f.warns, want)
	}
}

func TestCloseIsBounded(t *testing.T) {
	f := start(t, `echo $$ >"$VIGIL_DIR/pid"; exec sleep 1000`, nil)
	f.Submit("a", nil)
	eventually(t, "first run", func() bool { return strings.HasSuffix(f.read("pid"), "\n") })
	f.Submit("a", nil)
	if n := f.Close(10 * time.Millisecond); n != 1 {
		t.Errorf("%d runs dropped, want 1", n)
	}
	f.gone(t, "pid")
	if len(f.warns) != 1 || !strings.Contains(f.warns[0], "no time left") {
		t.Errorf("warnings %q", f.warns)
	}
	f.Submit("b", nil) // too late: nothing happens
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", 0o755)
	if err := os.Symlink("good", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, tt := range []struct {
		path, want string
		is         error
	}{
		{good, good, nil},
		{"good", good, nil},
		{"./link", filepath.Join(dir, "link"), nil},
		{"missing", "", fs.ErrNotExist},
		{dir, "", ErrRefused},
		{write("plain", 0o644), "", ErrRefused},
		{write("open", 0o757), "", ErrRefused},
	} {
		got, err := Check(tt.path)
		if got != tt.want || !errors.Is(err, tt.is) {
			t.Errorf("Check(%s) = %q, %v", tt.path, got, err)
		}
	}
}
