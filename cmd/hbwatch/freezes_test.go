package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
)

// freezesEnv names how many freezes TestFreezes tries: scripts/bench freeze asks for
// many.
const freezesEnv = "VIGIL_FREEZES"

const (
	sheep         = 600
	sheepInterval = 1500 * time.Millisecond
	sheepTimeout  = 10 * time.Second
)

// herdMain is the command herd DIR: so many senders in one process, spread over
// their interval, until it is killed.
func herdMain() {
	boot, err := boottime.ID()
	if err != nil {
		panic(err)
	}
	files, records := make([]*heartbeat.File, sheep), make([]heartbeat.Record, sheep)
	for i := range files {
		id := fmt.Sprintf("sheep-%03d", i)
		if files[i], err = heartbeat.OpenFile(filepath.Join(os.Args[1], id+heartbeat.Suffix)); err != nil {
			panic(err)
		}
		records[i] = heartbeat.Record{ID: id, PID: os.Getpid(), Boot: boot, IntervalMS: sheepInterval.Milliseconds(), CRC: true}
	}
	// A round is somewhat shorter than the interval. Who was stopped meanwhile beats at
	// once, as senders do whose timers have run out.
	const step = sheepInterval / sheep * 4 / 5
	for due := time.Now(); ; due = due.Add(sheep * step) {
		if time.Since(due) > sheepInterval {
			due = time.Now().Add(-sheep * step)
		}
		for i := range records {
			r := &records[i]
			if early := time.Until(due.Add(time.Duration(i) * step)); early > 5*time.Millisecond && r.Seq > 0 {
				time.Sleep(early)
			}
			r.Seq++
			r.BTMS, r.TSMS = boottime.Now().Milliseconds(), time.Now().UnixMilli()
			if err := files[i].Write(r); err != nil {
				panic(err)
			}
		}
	}
}

// child starts this binary as one of its commands.
func child(t *testing.T, name string, out *os.File, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name) // TestMain goes by the name
	if err := os.Symlink(exe, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// stopped tells whether every thread of a process stands still.
func stopped(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range stats {
		b, _ := os.ReadFile(name)
		if _, rest, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "t") {
			return false
		}
	}
	return len(stats) > 0
}

// stopInside stops a process in the midst of reading files: at its nth system call that
// names one.
func stopInside(t *testing.T, pid, nth int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	said := filepath.Join(t.TempDir(), "strace")
	trace := exec.CommandContext(ctx, "strace", "-f", "-o", said, "-e", "trace=%file",
		"-e", fmt.Sprintf("inject=%%file:signal=STOP:when=%d", nth), "-p", strconv.Itoa(pid))
	if err := trace.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, "stopped by strace", func() bool {
		b, _ := os.ReadFile(said)
		return bytes.Contains(b, []byte("--- stopped by SIGSTOP ---")) && stopped(pid)
	})
	// What it has stopped stays so.
	_ = trace.Process.Signal(syscall.SIGTERM)
	_ = trace.Wait()
	poll(t, "stopped", func() bool { return stopped(pid) })
}

// inMemory makes a directory where run directories are: a disk that is busy stops
// senders, and they would be blamed rightly.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "vigil-freezes-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// blame gives the stalls and the first of those who were blamed.
func blame(t *testing.T, events string) (text string) {
	b, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	blamed := 0
	for line := range strings.Lines(string(b)) {
		if bad := strings.Contains(line, `"to":"dead"`) || strings.Contains(line, `"to":"suspect"`); bad {
			blamed++
			if blamed <= 5 {
				text += line
			}
		} else if !strings.Contains(line, `"to":"alive"`) {
			text += line
		}
	}
	return text
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within five minutes", what)
		}
	}
}

// TestFreezes stops all senders and the watcher, this in turn between two sweeps and in
// the midst of one, for longer than every deadline: nobody is found dead or suspect
// for it. When the senders die after that, all are.
func TestFreezes(t *testing.T) {
	t.Parallel()
	gate.Need(t, "strace", "ptrace")
	runs := 2
	if text := os.Getenv(freezesEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: want a number", freezesEnv, text)
		}
		runs = n
	}
	dir := inMemory(t)
	events, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	count := func(word string) int {
		b, err := os.ReadFile(events.Name())
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte(word))
	}
	flock := child(t, "herd", nil, dir).Process
	watcher := child(t, "hbwatch", events, "-timeout", sheepTimeout.String(), dir).Process
	poll(t, "all alive", func() bool { return count(`"to":"alive"`) == sheep })
	for run := range runs {
		stalls := count(`"local_stall"`)
		if run%2 == 0 {
			stopInside(t, watcher.Pid, 5+run*31%200)
		} else if err := watcher.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		send(t, flock, syscall.SIGSTOP)
		frozen := time.Now()
		t.Logf("freeze %d: frozen at %s", run+1, frozen.UTC().Format("15:04:05.000"))
		poll(t, "the freeze", func() bool { return time.Since(frozen) > sheepTimeout+sheepTimeout/10 })
		// The watcher is first, and has only old beats to look at.
		send(t, watcher, syscall.SIGCONT)
		poll(t, "the stall is told", func() bool { return count(`"local_stall"`) > stalls })
		send(t, flock, syscall.SIGCONT)
		thawed := time.Now()
		t.Logf("freeze %d: thawed at %s", run+1, thawed.UTC().Format("15:04:05.000"))
		poll(t, "a while", func() bool { return time.Since(thawed) > sheepInterval })
		if n := count(`"to":"dead"`) + count(`"to":"suspect"`); n > 0 {
			t.Fatalf("freeze %d: %d were blamed for it:\n%s", run+1, n, blame(t, events.Name()))
		}
	}
	t.Logf("%d freezes of %d senders and their watcher: nobody blamed", runs, sheep)
	if err := flock.Kill(); err != nil {
		t.Fatal(err)
	}
	poll(t, "all dead", func() bool { return count(`"to":"dead"`) == sheep })
}

func send(t *testing.T, p *os.Process, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}
