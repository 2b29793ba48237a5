package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
	"vigil/pkg/jsonline"
)

// A kcore is a machine whose crashes go to a corecap of this tree, until the test
// ends.
type kcore struct {
	dir   string // short: core_pattern has room for 127 bytes
	spool string
	conf  string

	mu   sync.Mutex
	pids []int // of its own crashes: what else crashes on the machine comes here, too
}

const (
	patternFile  = "/proc/sys/kernel/core_pattern"
	limitFile    = "/proc/sys/kernel/core_pipe_limit"
	dumpableFile = "/proc/sys/fs/suid_dumpable"
)

var programsDir string // once there is one

// programs are compiled once: corecap and vigil, of which it is one tool, as they are
// shipped, and testdata/crash.c.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		return "", err
	}
	programsDir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+"/", ".", "../vigil")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	for _, cmd := range []*exec.Cmd{build, exec.Command("gcc", "-O1", "-g", "-pthread", "-o", dir+"/crash", "testdata/crash.c")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.New(cmd.String() + ": " + err.Error() + ": " + string(out))
		}
	}
	return dir, nil
})

// newKcore sends crashes to corecap, configured by lines. What was in force
// before is put back in any case: by a process that waits for this one to end,
// however it does.
func newKcore(t *testing.T, lines ...string) *kcore {
	t.Helper()
	gate.Need(t, "kcore", "gcc")
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &kcore{dir: dir, spool: dir + "/s", conf: dir + "/conf"}
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(k.spool, 0o755),
		os.Symlink(bin+"/corecap", dir+"/corecap"), os.Symlink(bin+"/crash", dir+"/crash"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	lines = append([]string{"spool " + k.spool, "log " + dir + "/log", "keep-free 0"}, lines...)
	if err := os.WriteFile(k.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	k.arrange(t)
	return k
}

// arrange sets the pattern. Its lock keeps out others that do the same.
func (k *kcore) arrange(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(patternFile, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	old := inForce(t)
	keeper := exec.Command("/bin/sh", "-c", `trap "" HUP INT TERM; read -r _; printf '%s\n' "$1" >`+patternFile+
		`; printf '%s\n' "$2" >`+limitFile+`; printf '%s\n' "$3" >`+dumpableFile, "keeper", old[0], old[1], old[2])
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	wait, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		wait.Close()
		if err := keeper.Wait(); err != nil {
			t.Error(err)
		}
		if now := inForce(t); now != old {
			t.Errorf("in force is %q, want %q back", now, old)
		}
		f.Close()
	})
	put(t, limitFile, "128")
	k.pattern(t, k.dir+"/corecap")
}

// pattern makes program the handler.
func (k *kcore) pattern(t *testing.T, program string) {
	t.Helper()
	put(t, patternFile, "|"+program+" handler -config "+k.conf+" %P %i %s %d %u %g %t %F")
}

// script makes a shell script the handler, for what is started from this directory
// alone: another's crash, which it would keep waiting, or mix with ours, is let go.
func (k *kcore) script(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(k.dir, name)
	text = "#!/bin/sh\n[ /proc/\"$4\"/exe -ef " + k.dir + "/crash ] || exit 0\n" + text
	if err := executable.Write(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	k.pattern(t, path)
}

// inForce is what arrange puts back.
func inForce(t *testing.T) [3]string {
	t.Helper()
	return [3]string{get(t, patternFile), get(t, limitFile), get(t, dumpableFile)}
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func put(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value+"\n"), 0); err != nil {
		t.Fatal(err)
	}
}

// run runs a program that is to crash of a signal, and gives its pid.
func (k *kcore) run(t *testing.T, cmd *exec.Cmd, want syscall.Signal) int {
	t.Helper()
	cmd.Dir = k.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	k.start(t, cmd)
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != want {
		t.Fatalf("%s: %v, want %v\n%s", cmd, err, want, &said)
	}
	return cmd.Process.Pid
}

// start starts a program that is to crash: its capture is one of ours.
func (k *kcore) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	k.pids = append(k.pids, cmd.Process.Pid)
	k.mu.Unlock()
}

// ours says whether a file of the spool is of a crash of ours.
func (k *kcore) ours(name string) bool {
	return slices.ContainsFunc(k.pids, func(pid int) bool { return strings.Contains(name, "_"+strconv.Itoa(pid)+"_") })
}

func (k *kcore) crash(t *testing.T, args ...string) int {
	t.Helper()
	return k.run(t, exec.Command(k.dir+"/crash", args...), syscall.SIGSEGV)
}

// settle waits until no handler of this machine is left, and gives the files that
// are of its own crashes.
func (k *kcore) settle(t *testing.T) []string {
	t.Helper()
	eventually(t, "the handlers end", func() bool { return len(k.handlers(t)) == 0 })
	entries, err := os.ReadDir(k.spool)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if k.ours(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// handlers are the processes of this machine's corecap. What they start ends before
// them, or with them.
func (k *kcore) handlers(t *testing.T) (pids []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte("\x00"+k.conf+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// eventually polls. Its patience is for what runs at nice 19, when all others have
// had their turn.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}

// one gives the path of the only capture, without its suffix.
func (k *kcore) one(t *testing.T, suffixes ...string) string {
	t.Helper()
	names := k.settle(t)
	if len(suffixes) == 0 {
		suffixes = []string{".core", ".json", ".stacks"}
	}
	base := ""
	var got []string
	for _, name := range names {
		i := strings.Index(name, "Z.") + 1
		if base == "" {
			base = name[:i]
		}
		if name[:i] == base {
			got = append(got, name[i:])
		}
	}
	if len(got) != len(names) || !slices.Equal(got, suffixes) {
		t.Fatalf("files %q, want one capture with %q\nlog: %s", names, suffixes, k.log(t))
	}
	return filepath.Join(k.spool, base)
}

func (k *kcore) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(k.dir + "/log")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// member gives a member of a description, with dots for what lies within another.
func member(t *testing.T, path, name string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	value, found := "", false
	var visit func(prefix string) func(key string, v jsonline.Value) error
	visit = func(prefix string) func(key string, v jsonline.Value) error {
		return func(key string, v jsonline.Value) error {
			if prefix+key == name {
				value, found = string(v.Raw), true
			}
			if v.Kind == jsonline.Object {
				return v.Object(visit(prefix + key + "."))
			}
			return nil
		}
	}
	if err := jsonline.Parse(b, visit("")); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, b)
	}
	if !found {
		t.Fatalf("%s: no member %s in %s", path, name, b)
	}
	return strings.Trim(value, `"`)
}
