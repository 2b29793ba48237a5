package control

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/socket"
)

func withSocket(t *testing.T, rate float64) *bench {
	t.Helper()
	b := prepare()
	b.listen(t, Config{Dir: filepath.Join(t.TempDir(), "svc"), Rate: rate, Socket: true})
	b.serve(t)
	return b
}

// dial opens a connection that ends with the test.
func (b *bench) dial(t *testing.T) (*os.File, *bufio.Reader) {
	t.Helper()
	conn, err := socket.Dial(b.dir, socketName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	return text
}

func say(t *testing.T, conn *os.File, text string) {
	t.Helper()
	if _, err := conn.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestSocket(t *testing.T) {
	b := withSocket(t, 0)
	conn, r := b.dial(t)
	for _, tt := range []struct{ text, want string }{
		{"say text=1\n", "- ok text=1\n"},
		{"\n@x say text=2\n", "x ok text=2\n"},
		{"@y change\n", "y err system no\\x0aspace\n"}, // ours: as good as ctl.admin
		{"nothing\n", "- err unknown nothing: no such verb: try help\n"},
		{"say text=a\x00\n", "- err syntax offset 10: byte 0x00: want 20 to 7e, others as %XX\n"},
		{strings.Repeat("x", 5000) + "\nsay text=3\n", "- err syntax line over 4096 bytes\n"},
		{"", "- ok text=3\n"},
		{"half", "- err syntax line without a line feed\n"},
		{"say text=4\nsay text=5\n", "- ok text=4\n"},
		{"", "- ok text=5\n"},
	} {
		say(t, conn, tt.text)
		if got := line(t, r); got != tt.want {
			t.Errorf("%.40q: %q, want %q", tt.text, got, tt.want)
		}
	}
	say(t, conn, "big\n")
	if got := line(t, r); got != "- ok bytes=1048576\n" {
		t.Errorf("%q", got)
	}
	if n, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if info, err := os.Lstat(b.dir + "/s"); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got := b.read("last"); got != "" {
		t.Errorf("last: %q: the answers have gone their own way", got)
	}
}

// TestSocketSlow: other commands of the connection are answered meanwhile, and
// one who has said all he wants still gets his answer.
func TestSocketSlow(t *testing.T) {
	b := withSocket(t, 0)
	conn, r := b.dial(t)
	say(t, conn, "@1 wait\n@2 say text=x\n@3 wait\n")
	if got := line(t, r); got != "2 ok text=x\n" {
		t.Errorf("%q", got)
	}
	if got := line(t, r); got != "3 err busy wait: one is under way\n" {
		t.Errorf("%q", got)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	if err != nil {
		t.Fatal(err)
	}
	b.free <- struct{}{}
	if got := line(t, r); got != "1 ok\n" {
		t.Errorf("%q", got)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("not hung up: %v", err)
	}
}

// TestSocketEnds: with a slow verb under way, and a client that says nothing.
func TestSocketEnds(t *testing.T) {
	b := withSocket(t, 0)
	conn, r := b.dial(t)
	_, idle := b.dial(t)
	say(t, conn, "@1 wait\n@2 wait\n")
	if got := line(t, r); got != "2 err busy wait: one is under way\n" {
		t.Errorf("%q", got)
	}
	b.stop()
	if got := line(t, r); got != "1 err timeout wait: the server ends\n" {
		t.Errorf("%q", got)
	}
	for _, r := range []*bufio.Reader{r, idle} {
		if _, err := r.ReadByte(); err == nil {
			t.Error("not hung up")
		}
	}
	until(t, "removed", func() bool { _, err := os.Lstat(b.dir + "/s"); return err != nil })
}

// TestSocketRate: told at once, and apart from the FIFOs.
func TestSocketRate(t *testing.T) {
	b := withSocket(t, 1)
	conn, r := b.dial(t)
	counts := map[string]int{}
	begun := time.Now()
	say(t, conn, strings.Repeat("say text=x\n", 50))
	for range 50 {
		counts[strings.Join(strings.Fields(line(t, r))[:3], " ")]++
	}
	// Twice as many at once, and one more each second.
	most := 3 + int(time.Since(begun)/time.Second)
	if ok := counts["- ok text=x"]; ok < 2 || ok > most || ok+counts["- err rate"] != 50 {
		t.Errorf("%v, want at most %d", counts, most)
	}
	if a, _ := b.ask(t, false, "say", Pair{"text", "x"}); a.Code != "" {
		t.Errorf("%+v", a)
	}
}

// TestSocketMany: over the limit a client is told so, and what was taken is
// given back.
func TestSocketMany(t *testing.T) {
	b := withSocket(t, 0)
	var conns []*os.File
	for i := range connectionsMax {
		conn, r := b.dial(t)
		say(t, conn, fmt.Sprintf("@%d ping\n", i))
		line(t, r)
		conns = append(conns, conn)
	}
	_, r := b.dial(t)
	if got := line(t, r); got != "- err busy too many connections\n" {
		t.Errorf("%q", got)
	}
	for _, conn := range conns {
		conn.Close()
	}
	until(t, "room again", func() bool {
		conn, r := b.dial(t)
		_, _ = conn.WriteString("say text=x\n")
		text, _ := r.ReadString('\n')
		return text == "- ok text=x\n"
	})
}

// TestSocketUnread: a client that asks for more than it reads is hung up on, and
// nobody else waits for it.
func TestSocketUnread(t *testing.T) {
	b := withSocket(t, 0)
	conn, _ := b.dial(t)
	say(t, conn, "big\nbig\n")
	other, r := b.dial(t)
	say(t, other, "say text=x\n")
	if got := line(t, r); got != "- ok text=x\n" {
		t.Errorf("%q", got)
	}
	until(t, "given up", func() bool { return b.Server.count.undelivered.Load() > 0 })
}

func TestSocketHeals(t *testing.T) {
	b := withSocket(t, 0)
	if err := os.Remove(b.dir + "/s"); err != nil {
		t.Fatal(err)
	}
	until(t, "said", func() bool { return strings.Contains(b.log.String(), "socket was removed or replaced") })
	conn, r := b.dial(t)
	say(t, conn, "say text=x\n")
	if got := line(t, r); got != "- ok text=x\n" {
		t.Errorf("%q", got)
	}
}

// TestDo: what a signal asks for is answered in last, whatever the rate, and is
// nothing once the server has ended.
func TestDo(t *testing.T) {
	b := listen(t, filepath.Join(t.TempDir(), "svc"), 1)
	b.Do("say text=early")
	b.serve(t)
	until(t, "serving", func() bool { b.Do("say text=first"); return b.read("last") == "- ok text=first\n" })
	for i := range 10 {
		b.Do(fmt.Sprintf("say text=%d", i))
	}
	until(t, "last", func() bool { return b.read("last") == "- ok text=9\n" })
	b.Do("change")
	until(t, "last", func() bool { return b.read("last") == "- err system no\\x0aspace\n" })
	b.stop()
	until(t, "ended", func() bool { return len(b.over) == 1 })
	b.Do("say text=late")
	if got := b.read("last"); got != "- err system no\\x0aspace\n" {
		t.Errorf("%q", got)
	}
}
