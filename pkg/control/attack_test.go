package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServerBadLines(t *testing.T) {
	b := start(t)
	for _, tt := range []struct{ text, want string }{
		{"say text=a\x00\n", "- err syntax offset 10: byte 0x00"},
		{"ping\r\n", "- err syntax offset 4: byte 0x0d"},
		{"\x1b]0;pwned\x07\n", "- err syntax offset 0: byte 0x1b"},
		{"say text=gr\xc3\xbcn\n", "- err syntax offset 11: byte 0xc3"},
		{"say text=%1B[2J\n", "- err syntax offset 9: want %XX, of text without control characters"},
		{"say text=%C3%BCn%FF\n", "- err syntax offset 9: want %XX, of text without control characters"},
		{"@../../tmp/x:f ping\n", "- err syntax offset 1: id: "},
		{"@q:f PING\n", "q err syntax offset 5: want a verb\n"},
		{strings.Repeat("x", 1<<16-1) + "\n", "- err syntax line over 4096 bytes\n"},
		{"half a line", "- err syntax line without a line feed\n"},
		{"pi\nng\n", "- err unknown ng: "},
	} {
		put(t, b.dir+"/ctl", tt.text)
		until(t, tt.want+" of "+b.read("last"), func() bool { return strings.HasPrefix(b.read("last"), tt.want) })
	}
	if got := b.read("r/q"); got != "q err syntax offset 5: want a verb\n" {
		t.Errorf("r/q: %q", got)
	}
}

// TestServerGlued: the half lines of two writers do not become a command, and a
// careful client's line does not become part of one.
func TestServerGlued(t *testing.T) {
	b := start(t)
	put(t, b.dir+"/ctl", "say tex")
	put(t, b.dir+"/ctl", "\nt=glued\n")
	until(t, "two refusals", func() bool { return b.Server.count.refused.Load() == 2 })
	put(t, b.dir+"/ctl", "garbage")
	if a, _ := b.ask(t, false, "say", Pair{"text", "x"}); a.Code != "" {
		t.Errorf("%+v", a)
	}
	if n := b.Server.count.refused.Load(); n != 3 {
		t.Errorf("%d refused, want the garbage as the third", n)
	}
}

// TestServerMiB: a line of a MiB costs no more than its reading.
func TestServerMiB(t *testing.T) {
	b := start(t)
	f, err := os.OpenFile(b.dir+"/ctl", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begun := time.Now()
	if _, err := f.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\nsay text=next\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "the next line", func() bool { return b.read("last") == "- ok text=next\n" })
	// What does not go on for a second is a line that has ended.
	most := 1 + int(time.Since(begun)/time.Second)
	if n, err := strconv.Atoi(b.count(t, "refused")); err != nil || n < 1 || n > most {
		t.Errorf("refused=%d, %v, want the one line", n, err)
	}
}

// TestServerPlanted: an answer never replaces what lies under its name, and
// never goes through it.
func TestServerPlanted(t *testing.T) {
	b := start(t)
	victim := t.TempDir() + "/victim"
	for path, err := range map[string]error{
		victim:          os.WriteFile(victim, []byte("precious"), 0o600),
		b.dir + "/r/f":  os.WriteFile(b.dir+"/r/f", []byte("precious"), 0o600),
		b.dir + "/r/l":  os.Symlink(victim, b.dir+"/r/l"),
		b.dir + "/p/l":  os.Symlink(victim, b.dir+"/p/l"),
		b.dir + "/p/f":  os.WriteFile(b.dir+"/p/f", []byte("precious"), 0o600),
		b.dir + "/last": errors.Join(os.RemoveAll(b.dir+"/last"), os.Symlink(victim, b.dir+"/last")),
	} {
		if err != nil {
			t.Fatal(path, err)
		}
	}
	put(t, b.dir+"/ctl", "@f:f ping\n@l:f ping\n@f:p ping\n@l:p ping\n@z:p ping\nsay text=end\n")
	until(t, "last", func() bool { return b.read("last") == "- ok text=end\n" })
	for _, path := range []string{victim, b.dir + "/r/f", b.dir + "/p/f"} {
		if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if n := b.count(t, "undelivered"); n != "5" {
		t.Errorf("undelivered=%s", n)
	}
}

// TestServerUnread: clients that ask for a MiB and do not read it.
func TestServerUnread(t *testing.T) {
	b := start(t)
	for i := range 20 {
		path := fmt.Sprintf("%s/p/c%d", b.dir, i)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		put(t, b.dir+"/ctl", fmt.Sprintf("@c%d:p big\n", i))
	}
	// It may be refused for the others' sake, but is not kept waiting.
	if a, data := b.ask(t, false, "big"); a.Code != Busy && len(data) != 1<<20 {
		t.Errorf("%+v", a)
	}
	until(t, "all given up", func() bool {
		n := b.count(t, "undelivered")
		return n == "20" || n == "21"
	})
}

func TestServerFull(t *testing.T) {
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 0)
	for i := range filesMax {
		if err := os.WriteFile(fmt.Sprintf("%s/r/old%d", b.dir, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.serve(t)
	put(t, b.dir+"/ctl", "@a:f say text=1\n")
	until(t, "the answer in last", func() bool { return b.read("last") == "a ok text=1\n" })
	if got := b.read("r/a"); got != "" {
		t.Errorf("r/a: %q", got)
	}
	// What nobody came for makes room.
	past := time.Now().Add(-2 * sweepEvery)
	for i := range 10 {
		if err := os.Chtimes(fmt.Sprintf("%s/r/old%d", b.dir, i), past, past); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b.dir+"/ctl", "@b:f say text=2\n")
	until(t, "the answer as a file", func() bool { return b.read("r/b") == "b ok text=2\n" })
}

// TestServerFlood: over the rate nothing is done, and ctl.admin is not
// affected by ctl.
func TestServerFlood(t *testing.T) {
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 1)
	b.serve(t)
	for range 20 {
		put(t, b.dir+"/ctl", strings.Repeat("say text=flood\n", 500))
	}
	// At once, or another second would have begun.
	put(t, b.dir+"/ctl", strings.Repeat("say text=flood\n", 200)+"@late:f ping\n")
	until(t, "all read", func() bool { return b.Server.count.lines.Load() >= 10201 })
	if over := b.Server.count.over.Load(); over < 9000 {
		t.Errorf("%d over the rate", over)
	}
	if got := b.read("r/late"); got != "" {
		t.Errorf("r/late: %q", got)
	}
	a, _ := b.ask(t, false, "ping")
	if a.Code != Rate && a.Code != "" {
		t.Errorf("%+v", a)
	}
	if a, _ := b.ask(t, true, "ping"); a.Code != "" {
		t.Errorf("admin: %+v", a)
	}
	if got := b.read("last"); strings.Contains(got, "err rate") {
		t.Errorf("last: %q", got)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, dir, want string
		make            func(dir string) error
	}{
		{"world-writable", dir + "/open", "directory has mode 0777", func(d string) error { return errors.Join(os.Mkdir(d, 0), os.Chmod(d, 0o777)) }},
		{"group-writable", dir + "/group", "directory has mode 0770", func(d string) error { return errors.Join(os.Mkdir(d, 0), os.Chmod(d, 0o770)) }},
		{"a file", dir + "/file", "open directory: not a directory", func(d string) error { return os.WriteFile(d, nil, 0o600) }},
		{"no parent", dir + "/a/b", "make directory: no such file or directory", func(string) error { return nil }},
		{"planted ctl", dir + "/planted", "/ctl: not a FIFO", func(d string) error {
			return errors.Join(os.Mkdir(d, 0o755), os.Symlink("/etc/passwd", d+"/ctl"))
		}},
		{"regular ctl", dir + "/regular", "/ctl: not a FIFO: remove it", func(d string) error {
			return errors.Join(os.Mkdir(d, 0o755), os.WriteFile(d+"/ctl", []byte("dump\n"), 0o600))
		}},
		{"planted ctl.admin", dir + "/planted-admin", "/ctl.admin: not a FIFO: remove it", func(d string) error {
			return errors.Join(os.Mkdir(d, 0o755), os.Mkdir(d+"/ctl.admin", 0o755))
		}},
		{"planted r", dir + "/planted-r", "/r: open directory: ", func(d string) error {
			return errors.Join(os.Mkdir(d, 0o755), os.Symlink("/tmp", d+"/r"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.make(tt.dir); err != nil {
				t.Fatal(err)
			}
			s, err := Listen(Config{Dir: tt.dir, ID: "svc", Log: &memoLog{}})
			if err == nil {
				s.Close()
				t.Fatal("served")
			}
			if !strings.HasPrefix(err.Error(), tt.dir) || !strings.Contains(err.Error(), tt.want) {
				t.Error(err)
			}
			for _, name := range []string{"ctl", "ctl.admin"} {
				if info, err := os.Lstat(tt.dir + "/" + name); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
					t.Errorf("left: %s %v", name, info.Mode())
				}
			}
		})
	}
}
