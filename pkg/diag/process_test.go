package diag

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

	"vigil/pkg/procfs"
)

// TestMain is also the process with many threads that a test looks at.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("DIAG_TEST_THREADS")); err == nil {
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
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// parsed is a dump as a reader sees it.
type parsed map[string]any

func dumpOf(t *testing.T, target *Target) parsed {
	t.Helper()
	text, err := DumpTarget(nil, "svc", target)
	if err != nil {
		t.Fatal(err)
	}
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
		"redacted": []any{"process.command_args", "process.environment_variables"},
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
	_, err := DumpTarget(nil, "svc", target)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != Gone {
		t.Errorf("after its end: %v", err)
	}
}

// crowded starts a process with at least n threads.
func crowded(t *testing.T, n int, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(os.Environ(), "DIAG_TEST_THREADS="+strconv.Itoa(n))
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
	text, err := DumpTarget(over, "svc", target)
	if err != nil || !strings.Contains(string(text), `"threads":[],`) || !strings.Contains(string(text), `"truncated":true`) {
		t.Errorf("given up: %.200s, %v", text, err)
	}
	r, err := (&Process{Target: target}).threads(Call{})
	if lines := strings.Count(string(r.Data), "\n"); err != nil || lines != threadsMax+1 {
		t.Errorf("threads: %d lines, %v", lines, err)
	}
	if truncated, _ := find(r.Pairs, "truncated"); truncated != "true" {
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
	for _, verb := range []func(Call) (Reply, error){p.status, p.threads} {
		r, err := verb(Call{})
		text := AppendReply(nil, "x", r, err)
		for _, b := range text {
			if b != '\n' && b != '\t' && (b < 0x20 || b > 0x7e) {
				t.Errorf("byte %#x in %q", b, text)
				break
			}
		}
	}
}

func TestTargetReused(t *testing.T) {
	target := byPID(t, os.Getpid())
	target.start-- // as if the number had been another's before
	_, err := target.find()
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != Gone || !strings.Contains(err.Error(), "another process has the number now") {
		t.Error(err)
	}
}

func TestTargetGone(t *testing.T) {
	cmd := child(t, "sleep", "0")
	_ = cmd.Wait()
	if _, err := ByPID(cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestPidfile(t *testing.T) {
	path := t.TempDir() + "/svc.pid"
	write := func(text string) {
		t.Helper()
		// A new file, as a restart makes: the time of the old one may be the same.
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	target := ByPidfile(path)
	find := func() string {
		st, err := target.find()
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(st.PID)
	}
	if got := find(); got != path+": pidfile: open: no such file or directory" {
		t.Error(got)
	}
	a, b := child(t, "sleep", "1000"), child(t, "sleep", "1000")
	for _, cmd := range []*exec.Cmd{a, b, a} {
		write(fmt.Sprintf("%d\n", cmd.Process.Pid))
		if got := find(); got != strconv.Itoa(cmd.Process.Pid) {
			t.Error(got)
		}
	}
	// The same file, and the number is another's.
	target.start--
	if got := find(); !strings.Contains(got, "another process has the number now") {
		t.Error(got)
	}
	// Written anew, it means whoever has the number.
	write(fmt.Sprintf(" %d \n", a.Process.Pid))
	if got := find(); got != strconv.Itoa(a.Process.Pid) {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"": "want a process id", "x": "want a process id", "-1": "want a process id", "0": "want a process id",
		"99999999999999999999": "want a process id", strings.Repeat("1", 5000): "want a process id",
		"1073741823": "no such process",
	} {
		write(text)
		if got := find(); !strings.Contains(got, want) {
			t.Errorf("%.20q: %s", text, got)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := find(); !strings.Contains(got, "writable for everybody") {
		t.Error(got)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := find(); !strings.Contains(got, "not a regular file") {
		t.Error(got)
	}
}

func TestStatus(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	p := &Process{ID: "svc", Target: byPID(t, cmd.Process.Pid)}
	r, err := p.status(Call{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"id": "svc", "pid": strconv.Itoa(cmd.Process.Pid), "state": "sleeping", "threads": "1", "tracer": "0"} {
		if got, _ := find(r.Pairs, key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := p.status(Call{}); err == nil || err.(*Refusal).Code != Gone {
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

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dir.Close()
	others := []string{
		"a.json", "a_1.json", "a_1_x.json", "a_1_20260101T000000.000Z.json.gz", "a_x_20260101T000000.000Z.json",
		"a_01_20260101T000000.000Z.json", "b_1_20260101T000000.000Z.json", "a_b_1_20260101T000000.000Z.json",
	}
	for _, name := range others {
		if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Ours by name, but not by kind: a link, a second name, a FIFO, a directory.
	for i, plant := range []func(string) error{
		func(p string) error { return os.Symlink(dir+"/a.json", p) },
		func(p string) error { return os.Link(dir+"/a.json", p) },
		func(p string) error { return syscall.Mkfifo(p, 0o600) },
		func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		name := fmt.Sprintf("a_%d_20000101T000000.000Z.json", i+1)
		if err := plant(dir + "/" + name); err != nil {
			t.Fatal(err)
		}
		others = append(others, name)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	var kept []string
	for i := range 5 {
		// Two at the same time, and a clock that was set back.
		name, err := s.Keep("a", 7+i, at.Add(-time.Duration(i)*time.Hour), []byte("{}\n"))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, name)
	}
	again, err := s.Keep("a", 7, at, []byte("{}\n"))
	if err != nil || kept[0] != "a_7_20260203T040506.007Z.json" || again != "a_7_20260203T040506.008Z.json" {
		t.Errorf("%s, then %s, %v", kept[0], again, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, e := range list {
		left[e.Name()] = true
	}
	for _, name := range append(others, kept[0], again) {
		if !left[name] {
			t.Errorf("%s was removed", name)
		}
		delete(left, name)
	}
	if len(left) > 0 {
		t.Errorf("left beyond the limit: %v", left)
	}
}

func TestLeases(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLeases(dir, "svc")
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenLeases(dir, "svc")
	if err != nil {
		t.Fatal(err)
	}
	call := func(verb func(Call) (Reply, error), pairs ...Pair) (string, Reply) {
		t.Helper()
		r, err := verb(Call{pairs: pairs})
		var refusal *Refusal
		switch {
		case errors.As(err, &refusal):
			return string(refusal.Code), r
		case err != nil:
			t.Fatal(err)
		}
		return "ok", r
	}
	held := func(want string) {
		t.Helper()
		pairs := l.Held()
		if got, _ := find(pairs, "held"); got != want {
			t.Errorf("%v, want held=%s", pairs, want)
		}
	}
	step := func(want string, verb func(Call) (Reply, error), pairs ...Pair) Reply {
		t.Helper()
		got, r := call(verb, pairs...)
		if got != want {
			t.Errorf("%v: %s, want %s", pairs, got, want)
		}
		return r
	}
	held("no")
	step("notheld", l.release)
	step("usage", l.hold, Pair{"ttl", "10"})
	step("usage", l.hold, Pair{"ttl", "-1s"})
	r := step("ok", l.hold, Pair{"ttl", "10m"}, Pair{"reason", "gdb"})
	nonce, _ := find(r.Pairs, "nonce")
	held("yes")
	step("held", other.hold, Pair{"ttl", "10m"})
	step("held", l.hold, Pair{"ttl", "10m"})
	step("notheld", other.release)
	step("notheld", other.release, Pair{"nonce", strings.Repeat("0", 32)})
	step("ok", l.hold, Pair{"ttl", "20m"}, Pair{"nonce", nonce})
	step("ok", l.release)
	held("no")
	step("notheld", l.release, Pair{"nonce", nonce})
	step("notheld", l.hold, Pair{"ttl", "20m"}, Pair{"nonce", nonce})
	step("ok", l.hold, Pair{"ttl", "10m"})
	step("usage", other.release, Pair{"force", "maybe"})
	r = step("ok", other.release, Pair{"force", "yes"})
	if by, _ := find(r.Pairs, "by"); by != adminName {
		t.Errorf("%v", r.Pairs)
	}
	held("no")
	step("notheld", l.release)
}
