// Package host gives tests a machine of their own for an init: a process that is
// the first one of new namespaces, on a root file system in memory. It sees
// neither the processes nor the files of the machine that runs the tests but for
// /usr, which it can only read; of devices it has null, zero, full, random, a
// console and terminals, and never a watchdog. Whatever it starts ends with it.
//
// The package is for tests only; no program imports it.
package host

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"maps"
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
	"time"
)

// patience is for what takes seconds, or two minutes of a cron, whose clock may be
// slower than ours: no machine is so busy.
const patience = 6 * time.Minute

// Config is what to start.
type Config struct {
	// Files is a directory that is copied to the root.
	Files string
	// Alone wants nothing but Files there: no /usr, no /etc of the machine.
	Alone bool
	// ReadOnly wants a root that cannot be written, but for /run.
	ReadOnly bool
	// Groups wants control groups, as systemd does.
	Groups bool
	// Env is the environment of Init, and of all that Run runs.
	Env []string
	// Init is the first process. Its working directory is /.
	Init []string
}

// Host is a machine that runs.
type Host struct {
	t       testing.TB
	config  Config
	cmd     *exec.Cmd
	init    int      // its number out here
	pidns   string   // what its processes have in common
	held    *os.File // the namespace: while it is open, nobody else's has that name
	console logs
	exited  chan struct{} // closed when the first process has ended
}

// logs is what is written to the console.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// enter joins control groups, up to the argument --, and runs the script after it
// as the first process of new namespaces.
const enter = `
while [ "$1" != -- ]; do
	echo $$ >"$1/cgroup.procs" || exit
	shift
done
shift
exec unshare --mount --pid --ipc --uts --net --cgroup --fork --kill-child sh -c "$@"
`

//go:embed boot.sh
var boot string

// Start starts a host, and has it ended with the test, which fails when that
// leaves something. It takes root.
func Start(t testing.TB, config Config) *Host {
	t.Helper()
	h := &Host{t: t, config: config, exited: make(chan struct{})}
	word := map[bool]string{true: "yes"}
	argv := []string{"/bin/sh", "-c", enter, "enter"}
	if config.Groups {
		argv = append(argv, ControlGroups(t)...)
	}
	argv = append(argv, "--", boot, "boot", t.TempDir(), config.Files, Console(t, &h.console),
		word[config.Alone], word[config.ReadOnly], word[config.Groups])
	argv = append(argv, config.Init...)
	h.cmd = exec.Command(argv[0], argv[1:]...)
	h.cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, config.Env...)
	h.cmd.Stdout, h.cmd.Stderr = &h.console, &h.console
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	h.cmd.WaitDelay = time.Minute
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = h.cmd.Wait() // how it ended, Code tells
		close(h.exited)
	}()
	t.Cleanup(h.end)
	h.Await("the first process", func() bool { return h.Exited() || h.up() })
	if h.Exited() {
		t.Fatalf("the first process has ended with %d", h.Code())
	}
	return h
}

// up finds the first process of the namespaces, which has become Init by then.
func (h *Host) up() bool {
	// unshare, which the shell has become, has it for its only child.
	id := strconv.Itoa(h.cmd.Process.Pid)
	child, err := os.ReadFile("/proc/" + id + "/task/" + id + "/children")
	if err != nil || len(bytes.Fields(child)) != 1 {
		return false
	}
	pid := string(bytes.TrimSpace(child))
	if _, err := os.Stat(filepath.Join("/proc", pid, "root", "run/booted")); err != nil {
		return false
	}
	h.init, _ = strconv.Atoi(pid)
	if h.held, err = os.Open("/proc/" + pid + "/ns/pid"); err != nil {
		return false
	}
	h.pidns, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(h.held.Fd())))
	return err == nil
}

// end kills the first process, and with it all others.
func (h *Host) end() {
	all := h.Processes()
	// Not by the death of its parent alone: who changes his user outlives that.
	first := Process{PID: h.init}
	if h.pidns != "" && first.there(h.pidns) {
		_ = syscall.Kill(h.init, syscall.SIGKILL)
	}
	_ = h.cmd.Process.Kill()
	<-h.exited
	for _, p := range all {
		deadline := time.Now().Add(patience)
		for p.there(h.pidns) {
			if time.Now().After(deadline) {
				h.t.Errorf("pid %d (%s) outlived its host", p.PID, p.Comm)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	_ = h.held.Close()
	if h.t.Failed() {
		h.t.Logf("console:\n%s", chatter.ReplaceAllString(h.console.String(), ""))
	}
}

// chatter is what systemd says of questions at level debug, and colours.
var chatter = regexp.MustCompile(`(?m)^.*(Bus |bus object|private connection|Got message|Sent message|sd-bus|bpf).*\n|\x1b\[[0-9;]*m|\r`)

// Console is what was written to the console.
func (h *Host) Console() string { return h.console.String() }

// Exited tells whether the first process has ended.
func (h *Host) Exited() bool {
	select {
	case <-h.exited:
		return true
	default:
		return false
	}
}

// Code is the exit status of the first process, which has Exited.
func (h *Host) Code() int { return h.cmd.ProcessState.ExitCode() }

// Await polls, and ends the test when it takes minutes.
func (h *Host) Await(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(100 * time.Millisecond) {
		if h.Exited() && !done() {
			h.t.Fatalf("the host has ended with %d before: %s", h.Code(), what)
		}
		if time.Now().After(end) {
			h.t.Fatalf("not in time: %s\n%s", what, h.table())
		}
	}
}

// Path is what a file of the host is called out here.
func (h *Host) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(h.init), "root", name)
}

// Text is what a file of the host holds; nothing, if there is none.
func (h *Host) Text(name string) string {
	text, _ := os.ReadFile(h.Path(name))
	return string(text)
}

// Result is how a program ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program in the host as root, or as another user, by the number.
func (h *Host) Run(argv ...string) Result { return h.RunAs(0, argv...) }

// RunAs is Run as another user and the group of the same number.
func (h *Host) RunAs(uid int, argv ...string) Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := strconv.Itoa(uid)
	enter := []string{"-m", "-p", "-i", "-u", "-n", "-r", "-w", "-S", id, "-G", id, "-t", strconv.Itoa(h.init)}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, h.config.Env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		h.t.Fatalf("%q: %v\n%s", argv, err, stderr.String())
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Process is one of the host.
type Process struct {
	PID, Inner, UID int // Inner is its number in the host
	parent          int
	Comm            string
	State           byte
	Args            []string
}

// Processes lists those of the host, in the order of their numbers.
func (h *Host) Processes() (all []Process) {
	if h.pidns == "" {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p := Process{PID: pid}
		if p.there(h.pidns) && p.read() == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Process) int { return a.Inner - b.Inner })
	return all
}

func (p *Process) there(pidns string) bool {
	ns, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/ns/pid")
	return err == nil && ns == pidns
}

func (p *Process) read() error {
	dir := "/proc/" + strconv.Itoa(p.PID) + "/"
	status, err := os.ReadFile(dir + "status")
	line, errArgs := os.ReadFile(dir + "cmdline")
	if err = errors.Join(err, errArgs); err != nil {
		return err
	}
	p.Args = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	for text := range strings.Lines(string(status)) {
		field := strings.Fields(text)
		if len(field) < 2 {
			continue
		}
		switch field[0] {
		case "Name:":
			p.Comm = field[1]
		case "State:":
			p.State = field[1][0]
		case "PPid:":
			p.parent, _ = strconv.Atoi(field[1])
		case "Uid:":
			p.UID, _ = strconv.Atoi(field[1])
		case "NSpid:":
			p.Inner, _ = strconv.Atoi(field[len(field)-1])
		}
	}
	return nil
}

// table is for a reader who wants to know why a test failed.
func (h *Host) table() string {
	var b strings.Builder
	for _, p := range h.Processes() {
		b.WriteString(strconv.Itoa(p.Inner) + " " + p.Comm + " " + string(p.State) + " " + strings.Join(p.Args, " ") + "\n")
	}
	return b.String()
}

// Find gives the process of that name with the word in one of its arguments; the
// word "" is in all. A child that has not become another program yet does not
// count. When there is none, or more than one, the number is 0.
func (h *Host) Find(comm, word string) Process {
	found := map[int]Process{}
	for _, p := range h.Processes() {
		if p.Comm == comm && p.State != 'Z' && slices.ContainsFunc(p.Args, func(a string) bool { return strings.Contains(a, word) }) {
			found[p.PID] = p
		}
	}
	maps.DeleteFunc(found, func(_ int, p Process) bool { _, child := found[p.parent]; return child })
	if len(found) == 1 {
		for _, p := range found {
			return p
		}
	}
	return Process{}
}

// Signal sends one to a process of the host, and to no other.
func (h *Host) Signal(p Process, sig syscall.Signal) {
	h.t.Helper()
	if p.PID == 0 || !p.there(h.pidns) {
		h.t.Fatalf("%v for %s: no such process", sig, p.Comm)
	}
	if err := syscall.Kill(p.PID, sig); err != nil {
		h.t.Fatal(err)
	}
}
