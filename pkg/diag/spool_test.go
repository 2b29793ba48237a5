package diag

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// strangers fills a spool with what must never be removed from it.
func strangers(t *testing.T, dir string) []string {
	t.Helper()
	names := []string{
		"a.json", "a_1.json", "a_1_x.json", "a_1_20260101T000000.000Z.json.gz", "a_x_20260101T000000.000Z.json",
		"a_01_20260101T000000.000Z.json", "b_1_20260101T000000.000Z.json", "a_b_1_20260101T000000.000Z.json",
	}
	for _, name := range names {
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
		names = append(names, name)
	}
	return names
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
	others := strangers(t, dir)
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

// codeOf is what an answer with this error would say.
func codeOf(err error) string {
	a, bad := ParseAnswer(bytes.TrimSpace(AppendReply(nil, "x", Reply{}, err)))
	if bad != nil {
		return bad.Error()
	}
	return cmp.Or(string(a.Code), "ok")
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
	held := func(want string) {
		t.Helper()
		pairs := l.Held()
		if got, _ := find(pairs, "held"); got != want {
			t.Errorf("%v, want held=%s", pairs, want)
		}
	}
	step := func(want string, verb func(Call) (Reply, error), pairs ...Pair) Reply {
		t.Helper()
		r, err := verb(Call{pairs: pairs})
		if got := codeOf(err); got != want {
			t.Errorf("%v: %s, want %s: %v", pairs, got, want, err)
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
