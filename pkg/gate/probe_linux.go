package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/vmtest"
)

// probeLimit bounds every program that a probe starts. One that is slow, on a busy
// machine or through a network, is there all the same.
const probeLimit = 5 * time.Minute

// Shells lists the four shells, as argument vectors, under which every shell
// script has to run; gate "shells" is open when all of them are there.
func Shells() [][]string {
	return [][]string{{"dash"}, {"busybox", "ash"}, {"mksh"}, {"bash"}}
}

func root() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("effective uid is %d", uid)
	}
	return nil
}

// ptrace starts a child that asks to be traced, the mildest form there is:
// seccomp filters of containers and Yama scope 3 refuse even that.
func ptrace() error {
	// The tracer is a thread, not a process: the one that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := exec.Command("/bin/sh", "-c", ":")
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return fmt.Errorf("ptrace(PTRACE_TRACEME): %w", err)
	}
	_ = child.Process.Kill()
	_ = child.Wait() // "signal: killed", as intended
	return nil
}

// foreign asks for what runs programs of other machines, as far as tests use it.
func foreign() error {
	return errors.Join(command("qemu-aarch64", "--version")(), command("qemu-mips", "--version")())
}

// packager asks whether the module that makes packages can be had.
func packager() error {
	return command("go", "list", "-m", "github.com/goreleaser/nfpm/v2@latest")()
}

// tmpfs mounts one over a directory of its own, in a mount namespace that
// ends with the child, so nothing of it is seen or left outside.
func tmpfs() error {
	if err := root(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vigil-gate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	mount := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "size=64k", "vigil", dir)
	mount.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return explain(mount.CombinedOutput())
}

// precopy asks for what following the writes of another process takes: the
// kernel, and a machine on which calls in another process are made.
func precopy() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the machine is %s", runtime.GOARCH)
	}
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(b), "%d.%d", &major, &minor); err != nil || major*100+minor < 611 {
		return fmt.Errorf("the kernel is %.20q, before 6.11", b)
	}
	return nil
}

// kcore asks whether this machine's core_pattern is ours to change: root outside
// of every container, where a change would be the whole machine's.
func kcore() error {
	for name, first := range map[string]string{"pid": "pid:[4026531836]", "user": "user:[4026531837]"} {
		if got, err := os.Readlink("/proc/self/ns/" + name); err != nil || got != first {
			return errors.Join(fmt.Errorf("%s namespace %q is not the first", name, got), err)
		}
	}
	f, err := os.OpenFile("/proc/sys/kernel/core_pattern", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func shells() error {
	for _, shell := range Shells() {
		if err := try(append(shell, "-c", ":")...); err != nil {
			return err
		}
	}
	return nil
}

// compiler links a program, because a gcc without the C library's headers is
// of no use to a test (and to go test -race).
func compiler() error { return compiles("gcc") }

// cross compiles for another processor.
func cross() error { return compiles("aarch64-linux-gnu-gcc") }

func compiles(compiler string) error {
	dir, err := os.MkdirTemp("", "vigil-gate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "gate.c")
	text := "#include <pthread.h>\n#include <stdio.h>\nint main(void) { return 0; }\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return err
	}
	return try(compiler, "-pthread", "-o", filepath.Join(dir, "gate"), source)
}

// machine gets a kernel to boot, the first time from the network, and asks for
// the emulator.
func machine(arch string) func() error {
	return func() error { return vmtest.Probe(arch) }
}

// inits gets packages, the first time from the network: a busybox with an init,
// sysvinit's init, and a cron, none of which is installed.
func inits() error {
	for _, name := range []string{"busybox-static", "sysvinit-core", "cron"} {
		if _, err := vmtest.Debian(runtime.GOARCH, name); err != nil {
			return err
		}
	}
	return nil
}

// systemd asks for what a systemd in namespaces of its own needs.
func systemd() error {
	if err := root(); err != nil {
		return err
	}
	if err := try("/lib/systemd/systemd", "--version"); err != nil {
		return err
	}
	return try("unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--fork", "--mount-proc", "--kill-child",
		"mount", "-t", "tmpfs", "run", "/run")
}

// netcat wants three: each has its own way with datagrams, or none.
func netcat() error {
	for _, name := range []string{"nc.openbsd", "nc.traditional", "busybox"} {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	return nil
}

func command(argv ...string) func() error {
	return func() error { return try(argv...) }
}

func try(argv ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	return explain(exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput())
}

// explain turns what a probe's program said into one line.
func explain(output []byte, err error) error {
	if err == nil || errors.Is(err, exec.ErrNotFound) {
		return err
	}
	if line, _, _ := bytes.Cut(bytes.TrimSpace(output), []byte("\n")); len(line) > 0 {
		return fmt.Errorf("%w: %s", err, strings.ToValidUTF8(string(line), "?"))
	}
	return err
}
