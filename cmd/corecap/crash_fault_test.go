package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/corefile"
	"vigil/pkg/crash"
	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
)

// mount gives the spool a disk of its own, of so many MiB.
func (k *kcore) mount(t *testing.T, mib int, flags string) {
	t.Helper()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=755%s", mib, flags), "vigil", k.spool).CombinedOutput()
	if err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", k.spool).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// A disk with less room than the core: what is there is marked, shows where it
// crashed, and leaves what has to stay free.
func TestCrashFullDisk(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "gdb", "tmpfs")
	const core, disk = 100, 40 // MiB
	for _, test := range []struct {
		name  string
		used  int // MiB of other files
		keep  string
		files []string
	}{
		{"some room", 4, "keep-free 8M", []string{".core", ".json", ".stacks"}},
		{"half", 20, "keep-free 8M", []string{".core", ".json", ".stacks"}},
		{"nearly none", 33, "keep-free 7M", []string{".json"}},
		{"nothing kept free", 20, "keep-free 0", []string{".core", ".json", ".stacks"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKcore(t, test.keep)
			k.mount(t, disk, "")
			if err := os.WriteFile(k.spool+"/other", make([]byte, test.used<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			k.crash(t, "large", strconv.Itoa(core))
			names := k.settle(t)
			if test.name == "nothing kept free" && len(names) == 0 {
				return // nothing at all: the description had no room either
			}
			if err := os.Remove(k.spool + "/other"); err != nil {
				t.Fatal(err)
			}
			base := k.one(t, test.files...)
			if why := member(t, base+".json", "partial"); why == "" {
				t.Error("a core without all memory is not marked")
			}
			if !strings.Contains(k.log(t), "core is partial: ") {
				t.Errorf("log: %s", k.log(t))
			}
			if len(test.files) == 1 {
				return
			}
			// Stacks come before the mass of the data.
			if test.keep != "keep-free 0" {
				if bt := backtrace(t, k.dir+"/crash", base+".core"); !strings.Contains(bt, "store (") || !strings.Contains(bt, "main (") {
					t.Errorf("gdb: %s", bt)
				}
			}
		})
	}
}

func TestCrashMaxSize(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "gdb")
	k := newKcore(t, "max-size 3M", "gzip yes")
	k.crash(t, "large", "8")
	base := k.one(t, ".core.gz", ".json", ".stacks")
	if got := member(t, base+".json", "partial"); !strings.HasPrefix(got, "no room for 8M more") {
		t.Errorf("partial: %s", got)
	}
	if out, err := exec.Command("gunzip", base+".core.gz").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if bt := backtrace(t, k.dir+"/crash", base+".core"); !strings.Contains(bt, "store (") || !strings.Contains(bt, "main (") {
		t.Errorf("gdb: %s", bt)
	}
}

func TestCrashReadOnly(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "tmpfs")
	k := newKcore(t)
	k.mount(t, 1, ",ro")
	k.crash(t)
	if names := k.settle(t); len(names) > 0 {
		t.Errorf("files %q", names)
	}
	// A line, and one for each that crashed beside it.
	if log := k.log(t); strings.Count(log, "corecap: error: "+k.spool+"/crash_0.crashes: ") != 1 || strings.Count(log, "read-only file system\n") != strings.Count(log, "\n") {
		t.Errorf("log: %s", log)
	}
}

// The handler is killed: the process goes all the same, and what is left is whole.
// Of some tries one at least has to be in time, before anything was whole.
func TestCrashHandlerKilled(t *testing.T) {
	k := newKcore(t, "stacks no", "window 0s", "keep 100")
	for try := range 20 {
		cmd := exec.Command(k.dir+"/crash", "large", "300")
		k.start(t, cmd)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var err error
		eventually(t, "the process ends", func() bool {
			for _, pid := range k.handlers(t) {
				if n, err := strconv.Atoi(pid); err == nil {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
			select {
			case err = <-ended:
				return true
			default:
				return false
			}
		})
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSEGV {
			t.Fatalf("the process: %v", err)
		}
		names := k.settle(t)
		for _, name := range names {
			if base, isCore := strings.CutSuffix(name, ".core"); isCore && !slices.Contains(names, base+".json") {
				t.Errorf("try %d: %s without a description", try, name)
			}
		}
		if len(names) == 0 {
			return
		}
		for _, name := range names {
			if err := os.Remove(filepath.Join(k.spool, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Error("no handler was killed in time")
}

// What comes is no core of a 64-bit program, or ends too soon: it is kept as it is.
func TestCrashUnseen(t *testing.T) {
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		stdin []byte
		files int
		says  string
	}{
		"32 bits": {append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 100<<10)...), 2, "mode=crash-pipe"},
		"cut":     {[]byte("\x7fELF\x02\x01"), 0, "6 bytes came: unexpected EOF"},
		"nothing": {nil, 0, "0 bytes came: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/conf", []byte("spool "+dir+"\nlog "+dir+"/log\nkeep-free 0\nstacks no\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			// No process has this number: kernel.pid_max is at most 4194304.
			cmd := exec.Command(bin+"/corecap", "handler", "-config", dir+"/conf", "4194304", "1", "11", "1",
				"12345", "12345", "1700000000")
			cmd.Stdin = bytes.NewReader(test.stdin)
			err := cmd.Run()
			log, rerr := os.ReadFile(dir + "/log")
			if rerr != nil || !strings.Contains(string(log), test.says) || (err == nil) != (test.files > 0) {
				t.Errorf("%v; log: %v %s", err, rerr, log)
			}
			found, gerr := filepath.Glob(dir + "/unknown_4194304_20231114T221320Z.*")
			if gerr != nil || len(found) != test.files {
				t.Errorf("files %q, %v", found, gerr)
			}
			// Whether it was set-uid nobody knows.
			for _, path := range found {
				if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
					t.Errorf("%s: not root's: %v", path, err)
				}
			}
			if test.files > 0 {
				if b, err := os.ReadFile(dir + "/unknown_4194304_20231114T221320Z.core"); err != nil || !bytes.Equal(b, test.stdin) {
					t.Errorf("%d bytes of %d, %v", len(b), len(test.stdin), err)
				}
			}
		})
	}
}

// The last heartbeat of the process is told.
func TestCrashHeartbeat(t *testing.T) {
	k := newKcore(t, "stacks no")
	if err := os.Mkdir(k.dir+"/hb", 0o755); err != nil {
		t.Fatal(err)
	}
	conf, err := os.OpenFile(k.conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString("hb " + k.dir + "/hb\nargs yes\n"); err != nil {
		t.Fatal(err)
	}
	conf.Close()
	// A shell that beats for itself, then becomes what crashes.
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `read -r _; exec "$0" segv`, k.dir+"/crash")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.start(t, cmd)
	r := heartbeat.Record{
		ID: "web", PID: cmd.Process.Pid, Boot: boot, Seq: 41, BTMS: boottime.Now().Milliseconds(), TSMS: time.Now().UnixMilli(),
		StartMS: time.Now().UnixMilli(), IntervalMS: 1000, Status: heartbeat.Degraded, Msg: "queue is long",
	}
	block, err := heartbeat.AppendBlock(nil, &r, heartbeat.Block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.dir+"/hb/web.hb", block, 0o644); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Fatal("it did not crash")
	}
	base := k.one(t, ".core", ".json")
	for name, want := range map[string]string{"crash.heartbeat.id": "web", "crash.heartbeat.seq": "41", "crash.heartbeat.status": "degraded", "crash.heartbeat.msg": "queue is long"} {
		if got := member(t, base+".json", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if args := member(t, base+".json", "crash.args"); !strings.Contains(args, `"segv"`) {
		t.Errorf("arguments %s", args)
	}
}

// An attacker lets a process crash, kills it, and arranges that another one, with
// a secret, has its pid when the handler looks: one that runs, one whose core
// is being taken as well. Nothing of it may get into the core, however often he
// tries.
func TestCrashPIDReuse(t *testing.T) {
	gate.Need(t, "kcore", "gcc", "tmpfs")
	const tries = 10000
	k := newKcore(t, "stacks no")
	// The core of the attacker's process, as the kernel gave it.
	k.script(t, "kept", "/bin/cat >"+k.dir+"/attacker.core\n")
	k.crash(t)
	attacker, err := os.ReadFile(k.dir + "/attacker.core")
	if err != nil {
		t.Fatal(err)
	}
	// The victim crashes, too, and its handler waits: its memory can be seen.
	k.script(t, "waits", "exec 4<&0\n/bin/sleep 1800 & echo $! >"+k.dir+"/sleeper\nwait\n")
	victim := exec.Command(k.dir+"/crash", "large", "1")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var sleeper int
	eventually(t, "the victim's handler", func() bool {
		b, err := os.ReadFile(k.dir + "/sleeper")
		sleeper, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil && sleeper > 0
	})
	defer func() {
		syscall.Kill(sleeper, syscall.SIGKILL)
		victim.Wait()
	}()
	running := exec.Command("sleep", "1800")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		running.Process.Kill()
		running.Wait()
	}()
	k.mount(t, 64, "") // 10000 times to the disk would take minutes
	for i := range tries {
		pid := victim.Process.Pid
		if i%2 == 1 {
			pid = running.Process.Pid
		}
		saved := attempt(t, k.spool, attacker, pid, i)
		if saved.Mode != "crash-pipe" || !strings.Contains(saved.Reason, strconv.Itoa(pid)) {
			t.Fatalf("try %d on a process that %s: mode %s, %s", i, []string{"crashes", "runs"}[i%2], saved.Mode, saved.Reason)
		}
	}
	checkSpool(t, k.spool, attacker)
}

// attempt hands over the attacker's core for a pid.
func attempt(t *testing.T, spool string, core []byte, pid, i int) *crash.Saved {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		w.Write(core)
		w.Close()
	}()
	config := crash.Defaults()
	config.Spool, config.Limits.KeepFree, config.Limits.Keep = spool, 0, 2
	h := &crash.Handler{Config: config, Core: r}
	saved, err := h.Save(t.Context(), crash.Event{PID: pid, Signal: 11, Dumpable: 1, Time: time.Unix(int64(1700000000+i), 0), PIDFD: -1})
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// checkSpool looks whether what is kept is the attacker's own core.
func checkSpool(t *testing.T, spool string, want []byte) {
	t.Helper()
	cores, err := filepath.Glob(spool + "/*.core")
	if err != nil || len(cores) == 0 {
		t.Fatalf("cores %q, %v", cores, err)
	}
	for _, path := range cores {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: is another process's", path)
		}
		if _, err := corefile.Parse(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	}
}
