package contract

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
)

// The vector was checked with Python and openssl, too.
const (
	vectorKey  = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	vectorText = `{"v":1,"id":"svc-1","pid":4242,"boot":"3f1c9a5200000000000000000000abcd","seq":7,"ts_ms":1763820000123,"bt_ms":86400123,"interval_ms":1000,"status":"ok","m":{"q":17}`
	vectorSig  = "c358111989ecdb500820565a7c0c0212d6f4636d0ff982819db96027b1eecc28"
)

// key writes a key file and gives its path.
func (h hbsh) key(text string, mode os.FileMode) string {
	h.Helper()
	path := filepath.Join(filepath.Dir(h.dir), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		h.Fatal(err)
	}
	return path
}

func TestHbshSigns(t *testing.T) {
	random := rand.NewChaCha8([32]byte{2})
	underEveryShell(t, func(h hbsh) {
		got := h.source([]string{"hex=" + vectorKey, "text=" + vectorText}, `hb__pads; hb__sign; echo "$sig"`)
		if got.stdout != vectorSig+"\n" || got.stderr != "" {
			h.Errorf("vector: %+v", got)
		}
		for _, size := range []int{16, 32, 63, 64} {
			key := make([]byte, size)
			_, _ = random.Read(key)
			key[0], key[1], key[size-1] = 0x36, 0x5c, 0 // NUL in both pads, and a trailing one in the key
			path := h.key(strings.ToUpper(hex.EncodeToString(key)), 0o400)
			h.do(0, "beat", "-k", path, "-M", "é \x01%s\\", "-m", "q=1", h.in("x.hb"))
			text, err := os.ReadFile(h.in("x.hb"))
			if err != nil {
				h.Fatal(err)
			}
			signed, _, _ := bytes.Cut(text, []byte(`,"sig":`))
			if r := h.record("x"); r.Sig != mac(key, signed) {
				h.Errorf("key of %d bytes: sig %s", size, r.Sig)
			}
			k, err := heartbeat.LoadKey(path, "x")
			if err != nil {
				h.Fatal(err)
			}
			if err := k.Verify(text); err != nil {
				h.Errorf("key of %d bytes: %v", size, err)
			}
			if err := os.Remove(path); err != nil {
				h.Fatal(err)
			}
		}
	})
}

// TestHbshReadsKeysAsTheProgramsDo compares its words with theirs.
func TestHbshReadsKeysAsTheProgramsDo(t *testing.T) {
	underEveryShell(t, func(h hbsh) {
		base := filepath.Dir(h.dir)
		keys := []string{h.in("none"), base, filepath.Join(base, "link"), h.key(vectorKey+"\n", 0o644)}
		if err := os.Symlink("key", filepath.Join(base, "link")); err != nil {
			h.Fatal(err)
		}
		same := func(path string) {
			h.Helper()
			_, err := heartbeat.LoadKey(path, "x")
			if got := h.do(111, "beat", "-k", path, h.in("x.hb")); err == nil || got.stderr != "hb.sh: error: "+err.Error()+"\n" {
				h.Errorf("%q, want %v", got.stderr, err)
			}
		}
		for _, path := range keys {
			same(path)
		}
		if got := h.do(111, "beat", "-k", "/dev/null", h.in("x.hb")); !strings.Contains(got.stderr, ": not a regular file") {
			h.Errorf("a device: %q", got.stderr)
		}
		for _, mode := range []os.FileMode{0o640, 0o700, 0o604, 0o600 | os.ModeSetuid} {
			same(h.key(vectorKey, mode))
		}
		for _, text := range []string{"", "\n", vectorKey[1:], vectorKey[:30], strings.Repeat("0", 130), vectorKey + "zz", "0x" + vectorKey} {
			same(h.key(text, 0o600))
		}
		if err := os.Rename(h.key(" "+vectorKey+" \n", 0o600), filepath.Join(base, "x.key")); err != nil {
			h.Fatal(err)
		}
		h.do(0, "beat", "-k", base, h.in("x.hb"))
		if h.record("x").Sig == "" {
			h.Error("not signed with the key of its id in a directory")
		}
	})
}

// revealing lists the forms in which a key could be seen, in hexadecimal.
func revealing(key []byte) map[string]string {
	digits := hex.EncodeToString(key)
	forms := map[string]string{"the key": digits, "its digits": hex.EncodeToString([]byte(digits))}
	for name, pad := range map[string]byte{"inner": 0x36, "outer": 0x5c} {
		var raw, octal []byte
		for _, c := range key {
			c ^= pad
			raw = append(raw, c)
			octal = append(octal, '\\', '0', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
		forms[name+" pad"] = hex.EncodeToString(raw)
		forms[name+" pad in octal"] = hex.EncodeToString(octal)
	}
	return forms
}

// TestHbshHidesTheKey looks at all that is given to any program, while the
// caller exports all it can and traces every step.
func TestHbshHidesTheKey(t *testing.T) {
	gate.Need(t, "strace")
	key, err := hex.DecodeString(vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	underEveryShell(t, func(h hbsh) {
		path := h.key(vectorKey+"\n", 0o600)
		trace := filepath.Join(t.TempDir(), "trace")
		script := `set -aeux; . "$1"; hb_beat -k "$2" "$3"`
		argv := append([]string{"strace", "-f", "-v", "-xx", "-s", "100000", "-e", "trace=execve,execveat", "-o", trace},
			h.shell...)
		env := []string{"hex=1", "inner=2", "outer=3", "octets=4", "digest=5", "sig=6", "text=7"}
		got := run(h.T, env, append(argv, "-c", script, "script", h.path, path, h.in("x.hb"))...)
		seen, err := os.ReadFile(trace)
		if err != nil || got.code != 0 {
			h.Fatalf("%v %+v\n%s", err, got, seen)
		}
		if n := bytes.Count(seen, []byte("execve")); n < 1 || h.shell[0] != "busybox" && n < 5 {
			h.Errorf("only %d programs were seen", n)
		}
		k, err := heartbeat.LoadKey(path, "x")
		if err != nil {
			h.Fatal(err)
		}
		text, err := os.ReadFile(h.in("x.hb"))
		if err != nil || k.Verify(text) != nil {
			h.Errorf("%v: not signed: %s", err, text)
		}
		given := strings.ReplaceAll(string(seen), `\x`, "")
		said := hex.EncodeToString([]byte(got.stderr))
		for what, form := range revealing(key) {
			if strings.Contains(given, form) {
				h.Errorf("%s was given to a program", what)
			}
			if strings.Contains(said, form) {
				h.Errorf("%s was traced", what)
			}
		}
	})
}
