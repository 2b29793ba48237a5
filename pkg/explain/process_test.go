package explain

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/control"
	"vigil/pkg/procfs"
)

// TestMain is also the process with many threads that a test looks at.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("EXPLAIN_TEST_THREADS")); err == nil {
		crowd(n)
		return
	}
	os.Exit(m.Run())
}

// crowd keeps n threads until its stdin ends.
func crowd(n int) {
	up := make(chan bool)
	for range n {
		go func() {
			runtime.LockOSThread()
			up <- true
			select {}
		}()
	}
	for range n {
		<-up
	}
	fmt.Println("up")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// child starts a process that ends with the test.
func child(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	startChild(t, cmd)
	return cmd
}

func startChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// generous bounds every wait for something that has to happen.
const generous = 5 * time.Minute

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(generous); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, generous)
		}
	}
}

// parsed is a dump as a reader sees it.
type parsed map[string]any

func dumpOf(t *testing.T, target *Target) parsed {
	t.Helper()
	text, _, err := (&Process{ID: "svc", Target: target}).Dump(nil, Extent{})
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func parse(t *testing.T, text []byte) parsed {
	t.Helper()
	if text[len(text)-1] != '\n' || strings.Count(string(text), "\n") != 1 {
		t.Error("not one line")
	}
	var p parsed
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func (p parsed) want(t *testing.T, want parsed) {
	t.Helper()
	for key, value := range want {
		if got, ok := p[key]; !ok || fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s: have %v (present %v), want %v", key, got, ok, value)
		}
	}
}

func byPID(t *testing.T, pid int) *Target {
	t.Helper()
	target, err := ByPID(pid)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func awaitState(t *testing.T, pid int, states string) {
	t.Helper()
	until(t, "state "+states, func() bool {
		st, err := procfs.ReadStat(pid)
		return err == nil && strings.IndexByte(states, st.State) >= 0
	})
}

func TestDump(t *testing.T) {
	cmd := child(t, "/bin/sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	p := dumpOf(t, byPID(t, cmd.Process.Pid))
	p.want(t, parsed{
		"schema": "vigil.dump/1", "id": "svc", "process.pid": cmd.Process.Pid, "process.parent_pid": os.Getpid(),
		"process.state": "sleeping", "process.name": "sleep", "process.command": "/bin/sleep", "process.args_count": 2,
		"process.thread.count": 1, "truncated": false, "errors": []any{}, "process.tracer.pid": 0,
		"redacted":        []any{"process.command_args", "process.environment_variables"},
		"process.user.id": os.Geteuid(), "process.kernel_thread": false,
	})
	threads := p["threads"].([]any)
	if len(threads) != 1 || threads[0].(map[string]any)["state"] != "sleeping" {
		t.Errorf("threads: %v", threads)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if n := p["process.unix.file_descriptor.count"].(float64); err != nil || int(n) != len(fds) {
		t.Errorf("%v descriptors, %d listed, %v", n, len(fds), err)
	}
	if p["process.memory.usage"].(float64) <= 0 || len(p["process.entity_id"].(string)) != 32 {
		t.Errorf("%v", p)
	}
	again := dumpOf(t, byPID(t, cmd.Process.Pid))
	if again["process.entity_id"] != p["process.entity_id"] {
		t.Error("entity_id changes")
	}
	if st, err := procfs.ReadStatus(cmd.Process.Pid); err != nil || st.TracerPID != 0 || st.State != 'S' {
		t.Errorf("it was touched: %+v, %v", st, err)
	}
}

func TestDumpStopped(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, cmd.Process.Pid, "T")
	dumpOf(t, byPID(t, cmd.Process.Pid)).want(t, parsed{"process.state": "stopped"})
}

// TestDumpZombie: what it had is gone, and null.
func TestDumpZombie(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	target := byPID(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitState(t, cmd.Process.Pid, "Z")
	p := dumpOf(t, target)
	p.want(t, parsed{"process.state": "zombie", "process.executable.path": nil, "process.command": nil})
	_ = cmd.Wait()
	_, _, err := (&Process{Target: target}).Dump(nil, Extent{})
	var refusal *control.Refusal
	if !errors.As(err, &refusal) || refusal.Code != control.Gone {
		t.Errorf("after its end: %v", err)
	}
}

// crowded starts a process with at least n threads.
func crowded(t *testing.T, n int, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(os.Environ(), "EXPLAIN_TEST_THREADS="+strconv.Itoa(n))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func TestDumpOfMany(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	crowded(t, threadsMax+50, cmd)
	target := byPID(t, cmd.Process.Pid)
	p := dumpOf(t, target)
	p.want(t, parsed{"truncated": true})
	if n := p["process.thread.count"].(float64); n < threadsMax+50 || len(p["threads"].([]any)) != threadsMax {
		t.Errorf("%v threads, %d listed", n, len(p["threads"].([]any)))
	}
	over := make(chan struct{})
	close(over)
	text, _, err := (&Process{Target: target}).Dump(over, Extent{})
	if err != nil || !strings.Contains(string(text), `"threads":[],`) || !strings.Contains(string(text), `"truncated":true`) {
		t.Errorf("given up: %.200s, %v", text, err)
	}
	r, err := (&Process{Target: target}).threads(control.Call{})
	if lines := strings.Count(string(r.Data), "\n"); err != nil || lines != threadsMax+1 {
		t.Errorf("threads: %d lines, %v", lines, err)
	}
	if truncated, _ := control.Find(r.Pairs, "truncated"); truncated != "yes" {
		t.Errorf("threads: %v", r.Pairs)
	}
}

// TestNames: a process chooses its own name; it must not move the cursor of one
// who reads about it.
func TestNames(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/a\x1b[2J\tb"
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Args[0] = "\x1b[2J\xc2\x9b\nx"
	crowded(t, 1, cmd)
	target := byPID(t, cmd.Process.Pid)
	dumpOf(t, target).want(t, parsed{"process.name": `a\x1b[2J\x09b`, "process.command": `\x1b[2J\xc2\x9b\x0ax`})
	p := &Process{ID: "svc", Target: target}
	for _, verb := range []func(control.Call) (control.Reply, error){p.status, p.threads} {
		r, err := verb(control.Call{})
		text := control.AppendReply(nil, "x", r, err)
		for _, b := range text {
			if b != '\n' && b != '\t' && (b < 0x20 || b > 0x7e) {
				t.Errorf("byte %#x in %q", b, text)
				break
			}
		}
	}
}

func TestStatus(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	p := &Process{ID: "svc", Target: byPID(t, cmd.Process.Pid)}
	r, err := p.status(control.Call{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"id": "svc", "pid": strconv.Itoa(cmd.Process.Pid), "state": "sleeping", "threads": "1", "tracer": "0"} {
		if got, _ := control.Find(r.Pairs, key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := p.status(control.Call{}); err == nil || err.(*control.Refusal).Code != control.Gone {
		t.Errorf("after its end: %v", err)
	}
}

// TestFaults: alike ones are counted, each with the number of its error.
func TestFaults(t *testing.T) {
	var d dumper
	denied := &fs.PathError{Op: "open", Path: "/proc/1/fd", Err: syscall.EACCES}
	d.fault("fd", denied)
	d.fault("threads[].syscall", denied)
	d.fault("threads[].syscall", denied)
	d.fault("threads[].syscall", nil)
	d.fault("stat", fmt.Errorf("x: %w", fs.ErrNotExist))
	d.fault("cmdline", fmt.Errorf("x: %w", os.ErrDeadlineExceeded))
	d.fault("other", errors.New("bad\n"))
	d.w.Array("")
	for _, f := range d.faults {
		f.append(&d.w)
	}
	d.w.End()
	want := `[{"object":"fd","errno":13,"text":"permission denied","count":1},` +
		`{"object":"threads[].syscall","errno":13,"text":"permission denied","count":2},` +
		`{"object":"stat","errno":3,"text":"no such process","count":1},` +
		`{"object":"cmdline","errno":110,"text":"connection timed out","count":1},` +
		`{"object":"other","errno":null,"text":"bad\\x0a","count":1}]`
	if got := string(d.w.Bytes()); got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
}
