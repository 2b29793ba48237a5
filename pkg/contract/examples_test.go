package contract

import (
	"encoding/json"
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

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// selfdump starts an example that writes its state into the file "state" at
// SIGUSR1, and tries it: dumps in quick succession are whole and show that it
// works on, and its file is its own.
func (c *chain) selfdump(counter string, argv ...string) *os.Process {
	c.Helper()
	p := c.background("example", slices.Concat(argv, []string{c.in("state")})...)
	c.catches(p.Pid, syscall.SIGUSR1)
	last := -1
	for range 5 {
		c.until("it works on", func() bool {
			if err := p.Signal(syscall.SIGUSR1); err != nil {
				c.Fatal(err)
			}
			text := c.text("state")
			if text == "" {
				return false
			}
			if !strings.HasPrefix(text, fmt.Sprintf("pid %d\n", p.Pid)) || !strings.HasSuffix(text, "\nend\n") {
				c.Fatalf("not the whole state: %q", text)
			}
			_, rest, _ := strings.Cut(text, counter+" ")
			digits, _, _ := strings.Cut(rest, "\n")
			n, err := strconv.Atoi(digits)
			if err != nil || n < last {
				c.Fatalf("%s after %d: %q", counter, last, text)
			}
			more := n > last
			last = n
			return more
		})
	}
	if info, err := os.Stat(c.in("state")); err != nil || info.Mode() != 0o600 {
		c.Errorf("%v %v, want 0600", info, err)
	}
	return p
}

// catches waits until the process has a handler, without which the signal would
// end it; diagfifo looks at the same.
func (c *chain) catches(pid int, sig syscall.Signal) {
	c.Helper()
	c.until("a handler", func() bool {
		s, err := procfs.ReadStatus(pid)
		if err != nil {
			c.Fatal(err)
		}
		return s.SigCgt&(1<<(sig-1)) != 0
	})
}

func TestExampleC(t *testing.T) {
	gate.Need(t, "gcc")
	c := scripted(t, nil)
	for _, standard := range []string{"-std=gnu11", "-std=gnu17"} {
		got := run(t, nil, "gcc", standard, "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", c.in("selfdump"), filepath.Join(root, "scripts/examples/selfdump.c"))
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("gcc %s: %s", standard, got.stderr)
		}
	}
	p := c.selfdump("worker0", c.in("selfdump"))
	c.asked(p.Pid)
	// A directory in the way is no end of it.
	c.until("a directory in its place", func() bool {
		_ = os.Remove(c.in("state")) // the last dump may still come
		return os.Mkdir(c.in("state"), 0o700) == nil
	})
	c.until("the complaint", func() bool {
		if err := p.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(c.text("example.log"), "state: Is a directory")
	})
	if got := run(t, nil, c.in("selfdump")); got.code != 100 {
		t.Errorf("without an argument: %+v", got)
	}
	if got := run(t, nil, c.in("selfdump"), strings.Repeat("x", 5000)); got.code != 111 {
		t.Errorf("with a long one: %+v", got)
	}
}

// asked lets diagfifo send the signal: it does so only to who catches it.
func (c *chain) asked(pid int) {
	c.Helper()
	c.background("diagfifo", "diagfifo", "-pid", strconv.Itoa(pid), "-signals", "USR1", c.in("ctl/example"))
	c.until("diagfifo", func() bool { _, err := os.Stat(c.in("ctl/example/ctl.admin")); return err == nil })
	c.until("its last dump", func() bool { return os.Remove(c.in("state")) != nil })
	got := run(c.T, nil, filepath.Join(c.tree, "dist/diagfifo"), "send", "-admin", c.in("ctl/example"), "signal", "name=USR1")
	if got.code != 0 {
		c.Errorf("signal: %+v", got)
	}
	c.until("the state", func() bool { return strings.HasSuffix(c.text("state"), "\nend\n") })
}

func TestExamplePython(t *testing.T) {
	gate.Need(t, "python3")
	c := scripted(t, nil)
	p := c.selfdump("done", "/usr/bin/env", "python3", filepath.Join(c.tree, "scripts/examples/selfdump.py"))
	for _, want := range []string{"thread MainThread\n", "thread selfdump\n", ", in main\n"} {
		if text := c.text("state"); !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	c.catches(p.Pid, syscall.SIGUSR2)
	t.Cleanup(func() {
		if t.Failed() {
			b, err := os.ReadFile(c.in("state.raw"))
			t.Logf("raw: %v\n%s", err, b)
		}
	})
	// The handler looks at threads that run, without the interpreter's lock: one
	// that is just between two functions shows neither. As a person would, ask again.
	c.until("the raw stacks", func() bool {
		if err := p.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(c.text("state.raw"), " in main\n")
	})
}

func TestExampleShell(t *testing.T) {
	scriptedUnderEveryShell(t, func(c *chain) {
		path, err := exec.LookPath(c.shell[0])
		if err != nil {
			c.Fatal(err)
		}
		p := c.selfdump("done", slices.Concat([]string{path}, c.shell[1:], []string{filepath.Join(c.tree, "scripts/examples/selfdump.sh")})...)
		if text := c.text("state"); !strings.Contains(text, "\ndoing sleep 1\n") {
			c.Errorf("state %q", text)
		}
		if err := p.Signal(syscall.SIGTERM); err != nil {
			c.Fatal(err)
		}
		c.until("its end", func() bool { return state(c.T, p.Pid) == "Z" })
	})
}

// TestExampleService: a Go program that beats by itself and is asked with
// nothing but a shell.
func TestExampleService(t *testing.T) {
	gate.Need(t, "shells")
	c := scripted(t, []string{"/bin/sh"})
	if got := run(t, nil, "go", "build", "-o", c.in("service"), "vigil/scripts/examples/service"); got.code != 0 {
		t.Fatal(got.stderr)
	}
	p := c.background("example", c.in("service"), c.dir)
	c.until("alive", func() bool {
		return strings.Contains(run(t, c.env, filepath.Join(c.tree, "dist/hbwatch"), "-once", "-json", c.in("hb")).stdout, `"state":"alive"`)
	})
	ctl := c.in("ctl/service")
	if err := p.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	c.until("the dump", func() bool { return strings.Contains(c.text("ctl/service/last.dump"), "main.(*service).run ") })
	if text := c.text("ctl/service/last.dump"); !json.Valid([]byte(text)) {
		t.Errorf("dump: %s", text)
	}
	send := func(code int, want string, args ...string) {
		t.Helper()
		got := run(t, nil, slices.Concat([]string{filepath.Join(c.tree, "dist/diagfifo"), "send"}, args)...)
		if got.code != code || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("%q: %+v, want %q", args, got, want)
		}
	}
	send(0, "goroutine profile: total ", ctl, "goroutines")
	send(0, "done ", ctl, "counters")
	send(0, "level=DEBUG returns_to=INFO", "-admin", ctl, "loglevel", "level=DEBUG", "for=10m")
	c.until("it says more", func() bool { return strings.Contains(c.text("example.log"), "level=DEBUG msg=working") })
	send(0, "left_ms=", "-admin", ctl, "disable-heartbeat", "for=1h")
	works := func() {
		t.Helper()
		done := c.text("example.log")
		c.until("it works on", func() bool { return strings.Count(c.text("example.log"), "working") > strings.Count(done, "working")+2 })
	}
	works() // a beat that had begun has ended
	seq := c.text("hb/service.hb")
	works()
	if now := c.text("hb/service.hb"); now != seq {
		t.Errorf("it beats: %s", now)
	}
	send(0, "left_ms=0", "-admin", ctl, "disable-heartbeat", "for=0s")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.until("its end", func() bool { return state(t, p.Pid) == "Z" })
	if text := c.text("hb/service.hb"); !strings.Contains(text, `"status":"stopping"`) {
		t.Errorf("last beat %s", text)
	}
	if _, err := os.Stat(ctl); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}
