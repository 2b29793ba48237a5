package explain

import (
	"bytes"
	"cmp"
	"os"
	"strings"
	"testing"

	"vigil/pkg/control"
)

// codeOf is what an answer with this error would say.
func codeOf(err error) string {
	a, bad := control.ParseAnswer(bytes.TrimSpace(control.AppendReply(nil, "x", control.Reply{}, err)))
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
		if got, _ := control.Find(pairs, "held"); got != want {
			t.Errorf("%v, want held=%s", pairs, want)
		}
	}
	step := func(want string, verb func(control.Call) (control.Reply, error), words ...string) control.Reply {
		t.Helper()
		var pairs []control.Pair
		for i := 0; i < len(words); i += 2 {
			pairs = append(pairs, control.Pair{Key: words[i], Value: words[i+1]})
		}
		r, err := verb(control.Call{Pairs: pairs})
		if got := codeOf(err); got != want {
			t.Errorf("%v: %s, want %s: %v", pairs, got, want, err)
		}
		return r
	}
	held("no")
	step("notheld", l.release)
	step("usage", l.hold, "ttl", "10")
	step("usage", l.hold, "ttl", "-1s")
	r := step("ok", l.hold, "ttl", "10m", "reason", "gdb")
	nonce, _ := control.Find(r.Pairs, "nonce")
	held("yes")
	step("held", other.hold, "ttl", "10m")
	step("held", l.hold, "ttl", "10m")
	step("notheld", other.release)
	step("notheld", other.release, "nonce", strings.Repeat("0", 32))
	step("ok", l.hold, "ttl", "20m", "nonce", nonce)
	step("ok", l.release)
	held("no")
	step("notheld", l.release, "nonce", nonce)
	step("notheld", l.hold, "ttl", "20m", "nonce", nonce)
	step("ok", l.hold, "ttl", "10m")
	step("usage", other.release, "force", "maybe")
	r = step("ok", other.release, "force", "yes")
	if by, _ := control.Find(r.Pairs, "by"); by != control.AdminName {
		t.Errorf("%v", r.Pairs)
	}
	held("no")
	step("notheld", l.release)
}
