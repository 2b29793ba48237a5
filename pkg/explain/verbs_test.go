package explain

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// ask runs a verb, and gives its pairs and its lines in words.
func ask(t *testing.T, p *Process, verb string, words ...string) (map[string]string, [][]string) {
	t.Helper()
	var pairs []control.Pair
	for i := 0; i < len(words); i += 2 {
		pairs = append(pairs, control.Pair{Key: words[i], Value: words[i+1]})
	}
	r, err := control.Once(nil, p.Verbs(), verb, pairs)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	got := map[string]string{}
	for _, pair := range r.Pairs {
		got[pair.Key] = pair.Value
	}
	var lines [][]string
	for line := range strings.Lines(string(r.Data)) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return got, lines
}

// row finds the line whose last or first word is name.
func row(t *testing.T, lines [][]string, name string) []string {
	t.Helper()
	for _, l := range lines {
		if l[0] == name || l[len(l)-1] == name {
			return l
		}
	}
	t.Fatalf("no line of %s in %q", name, lines)
	return nil
}

func TestFDs(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	odd := filepath.Join(t.TempDir(), "a\x1b[2J b")
	f, err := os.Create(odd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{r, w, f}
	startChild(t, cmd)
	p := &Process{Target: byPID(t, cmd.Process.Pid)}
	awaitState(t, cmd.Process.Pid, "S")
	got, lines := ask(t, p, "fds")
	want := links(t, cmd.Process.Pid)
	kinds := map[string]int{}
	for fd, target := range want {
		kinds["kind_"+kind(target)]++
		if l := row(t, lines, strconv.Itoa(fd)); l[1] != cli.Escape(target) {
			t.Errorf("%q, want %q", l, target)
		}
	}
	if !strings.HasPrefix(want[4], "pipe:[") || !strings.HasSuffix(row(t, lines, "5")[1], `/a\x1b[2J b`) {
		t.Errorf("%q", lines)
	}
	for k, n := range kinds {
		if got[k] != strconv.Itoa(n) {
			t.Errorf("%v, want %s=%d", got, k, n)
		}
	}
	if got["fds"] != strconv.Itoa(len(want)) || len(lines) != len(want)+1 || got["truncated"] != "" {
		t.Errorf("%v, %q", got, lines)
	}
}

// links are the descriptors of a process as readlink(1) would show them.
func links(t *testing.T, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, e := range list {
		fd, _ := strconv.Atoi(e.Name())
		if found[fd], err = os.Readlink(dir + "/" + e.Name()); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestKind(t *testing.T) {
	for target, want := range map[string]string{
		"/var/log/x": "file", "/dev/null": "device", "socket:[1]": "socket", "pipe:[2]": "pipe", "anon_inode:[eventpoll]": "eventpoll",
		"anon_inode:inotify": "inotify", "/memfd:x (deleted)": "memfd", "net:[4026531840]": "net", "": "other", "x": "other",
	} {
		if got := kind(target); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
	if got := keyWord("Io-uring[\x1b]" + strings.Repeat("x", 50)); got != "io_uring___"+strings.Repeat("x", 13) {
		t.Errorf("%q", got)
	}
}

func TestMaps(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	p := &Process{Target: byPID(t, cmd.Process.Pid)}
	got, lines := ask(t, p, "maps")
	exe, err := procfs.Exe(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if l := row(t, lines, exe); len(l) != 5 || l[3] != "x" || l[0] == "0" || l[0] == l[1] {
		t.Errorf("%q", l)
	}
	if l := row(t, lines, "[stack]"); l[0] != l[1] || l[2] != "1" || l[3] != "-" {
		t.Errorf("%q", l)
	}
	if n, _ := strconv.Atoi(got["objects"]); n != len(lines)-1 || n < 3 {
		t.Errorf("%v, %d lines", got, len(lines))
	}
	maps, _, err := procfs.ReadMaps(cmd.Process.Pid, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if address := fmt.Sprintf("%x", m.Start); strings.Contains(fmt.Sprint(lines), address) {
			t.Errorf("the address %s is told", address)
		}
	}
}

func TestLimits(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	var mine syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &mine); err != nil {
		t.Fatal(err)
	}
	_, lines := ask(t, &Process{Target: byPID(t, cmd.Process.Pid)}, "limits")
	if l := row(t, lines, "nofile"); l[2] != strconv.FormatUint(mine.Max, 10) || l[3] != strconv.Itoa(len(links(t, cmd.Process.Pid))) {
		t.Errorf("%q, want hard limit %d", l, mine.Max)
	}
	if l := row(t, lines, "as"); l[3] == "-" || l[3] == "0" {
		t.Errorf("%q", l)
	}
}

// TestSample: what a process does is counted, and what it calls itself cannot
// spoil the lines.
func TestSample(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/a;b c\x1b"
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	crowded(t, 3, cmd)
	p := &Process{Target: byPID(t, cmd.Process.Pid)}
	got, lines := ask(t, p, "sample", "hz", "50", "for", "200ms")
	looks, _ := strconv.Atoi(got["looks"])
	seen, _ := strconv.Atoi(got["threads_seen"])
	if looks < 1 || looks > 10 || seen < 4*looks || got["truncated"] != "" {
		t.Errorf("%v", got)
	}
	sum := 0
	for _, l := range lines {
		stack, count, _ := cutLast(l[0])
		n, err := strconv.Atoi(count)
		if sum += n; err != nil || !strings.HasPrefix(stack, `a,b c\x1b;`) {
			t.Errorf("%q", l)
		}
	}
	if sum != seen {
		t.Errorf("%d counted, %d seen", sum, seen)
	}
	if text := fmt.Sprint(lines); !strings.Contains(text, ";sleeping;futex;futex_") {
		t.Errorf("%s", text)
	}
	for _, words := range [][]string{{"hz", "0"}, {"hz", "201"}, {"hz", "x"}, {"for", "5"}, {"for", "-1s"}, {"for", "1h"}} {
		_, err := control.Once(nil, p.Verbs(), "sample", []control.Pair{{Key: words[0], Value: words[1]}})
		if codeOf(err) != "usage" {
			t.Errorf("%v: %v", words, err)
		}
	}
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	return s[:i], s[i+1:], true
}

// TestSampleEnds: with the target, or when nobody waits any more.
func TestSampleEnds(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	p := &Process{Target: byPID(t, cmd.Process.Pid)}
	done := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(done) })
	begun := time.Now()
	r, err := p.Sample(done, Sampling{100, time.Hour})
	if err != nil || time.Since(begun) > generous || len(r.Data) == 0 {
		t.Errorf("%q, %v", r.Data, err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = cmd.Process.Kill() })
	r, err = p.Sample(nil, Sampling{100, time.Hour})
	if err != nil || time.Since(begun) > generous || !strings.Contains(string(r.Data), "sleep;sleep;zombie ") {
		t.Errorf("%q, %v", r.Data, err)
	}
	_ = cmd.Wait()
	if _, err := p.Sample(nil, Sampling{100, time.Minute}); codeOf(err) != "gone" {
		t.Error(err)
	}
}

// TestFoldedBound: what is too much for the table is counted all the same.
func TestFoldedBound(t *testing.T) {
	f := newFolded("x")
	for i := range stacksMax + 100 {
		var th thread
		th.stat.Comm, th.stat.State = strconv.Itoa(i), 'S'
		f.add(th)
	}
	text := string(f.lines())
	if n := strings.Count(text, "\n"); n != stacksMax+1 || !strings.Contains(text, "\nx;(others) 100\n") && !strings.HasPrefix(text, "x;(others) 100\n") {
		t.Errorf("%d lines", n)
	}
}

// TestHangs: one thread that cannot be read costs its time once, and the others
// are told as unknown.
func TestHangs(t *testing.T) {
	release := make(chan struct{})
	g := gaze(1, func(_, tid int) thread {
		if tid == 2 {
			<-release
		}
		return thread{tid: tid}
	})
	if got := g.look(1); got.errStat != nil {
		t.Error(got.errStat)
	}
	g.patience = 10 * time.Millisecond
	begun := time.Now()
	for tid := 2; tid < 1000; tid++ {
		if got := g.look(tid); !errors.Is(got.errStat, os.ErrDeadlineExceeded) || got.tid != tid {
			t.Fatalf("%+v", got)
		}
	}
	if spent := time.Since(begun); spent < g.patience || spent > generous {
		t.Errorf("%v", spent)
	}
	g.end()
	close(release)
}

func TestExtent(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	awaitState(t, cmd.Process.Pid, "S")
	p := &Process{ID: "x", Target: byPID(t, cmd.Process.Pid)}
	whole := dumpOf(t, p.Target)
	whole.want(t, parsed{"level": "full", "process.vpid": cmd.Process.Pid})
	if kinds := whole["file_descriptor.kinds"].(map[string]any); len(kinds) == 0 || len(whole["file_descriptors"].([]any)) == 0 {
		t.Errorf("%v", whole)
	}
	if m := whole["mappings"].([]any); len(m) < 3 || whole["process.working_directory"] == nil || whole["process.linux.cgroup"] == nil {
		t.Errorf("%v", whole)
	}
	text, _, err := p.Dump(nil, Extent{Light: true, Smaps: true})
	light := parse(t, text)
	light.want(t, parsed{"level": "light", "process.thread.count": 1, "process.unix.file_descriptor.count": len(links(t, cmd.Process.Pid)), "truncated": false, "errors": []any{}})
	for _, key := range []string{"threads", "file_descriptors", "mappings"} {
		if _, there := light[key]; there || err != nil {
			t.Errorf("%s is told, %v", key, err)
		}
	}
	if pss, ok := light["process.memory.proportional"].(float64); !ok || pss == 0 {
		t.Errorf("pss: %v", light["process.memory.proportional"])
	}
	for _, words := range [][3]string{{"big", "", ""}, {"", "0", ""}, {"", "5000", ""}, {"", "x", ""}, {"", "", "no"}} {
		if x, err := parseExtent(words[0], words[1], words[2]); err == nil {
			t.Errorf("%q: %+v", words, x)
		}
	}
}

// TestDumpUninterruptible: a process that waits in the kernel and hears no
// signal, as one whose disk does not answer; here it waits for its child.
func TestDumpUninterruptible(t *testing.T) {
	gate.Need(t, "gcc")
	dir := t.TempDir()
	source := "#include <unistd.h>\nint main(void) { if (vfork() == 0) for (;;) pause(); return 0; }\n"
	if err := os.WriteFile(dir+"/wait.c", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("gcc", "-o", dir+"/wait", dir+"/wait.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	cmd := exec.Command(dir + "/wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	startChild(t, cmd)
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // and the child
	awaitState(t, cmd.Process.Pid, "D")
	p := &Process{Target: byPID(t, cmd.Process.Pid)}
	dumpOf(t, p.Target).want(t, parsed{"process.state": "disk-sleep", "errors": []any{}})
	_, lines := ask(t, p, "threads")
	if l := lines[1]; l[1] != "disk-sleep" || l[5] != "vfork" && l[5] != "clone" {
		t.Errorf("%q", l)
	}
}

// TestDumpExiting: a process that ends while it is looked at is described as far
// as it was seen, or said to be gone; nothing else.
func TestDumpExiting(t *testing.T) {
	told := 0
	for range 30 {
		cmd := child(t, "true")
		target, err := ByPID(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		p := &Process{ID: "svc", Target: target}
		text, _, err := p.Dump(nil, Extent{})
		if err == nil {
			parse(t, text).want(t, parsed{"process.pid": cmd.Process.Pid})
			told++
		} else if codeOf(err) != "gone" {
			t.Error(err)
		}
	}
	if told == 0 {
		t.Error("never seen")
	}
}
