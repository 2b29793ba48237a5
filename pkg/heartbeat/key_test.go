package heartbeat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/rundir"
)

// The vector was checked with Go's crypto/hmac, Python, openssl and sha256sum.
const (
	vectorText = `{"v":1,"id":"svc-1","pid":4242,"boot":"3f1c9a5200000000000000000000abcd","seq":7,"ts_ms":1763820000123,` +
		`"bt_ms":86400123,"interval_ms":1000,"status":"ok","m":{"q":17}`
	vectorSig = "c358111989ecdb500820565a7c0c0212d6f4636d0ff982819db96027b1eecc28"
)

func vectorKey(t testing.TB) *Key {
	t.Helper()
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(i)
	}
	k, err := NewKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSignVector(t *testing.T) {
	if got := vectorKey(t).Sign([]byte("x"), []byte(vectorText)); string(got) != "x"+vectorSig {
		t.Errorf("have %s, want x%s", got, vectorSig)
	}
}

// The encoder's signature is one over its own bytes, and nothing but those.
func TestSignedRecord(t *testing.T) {
	k := vectorKey(t)
	r := Record{
		ID: "svc-1", PID: 4242, Boot: "3f1c9a5200000000000000000000abcd", Seq: 7, TSMS: 1763820000123, BTMS: 86400123,
		IntervalMS: 1000, Metrics: []Metric{{"q", 17}},
	}
	e := Encoder{Key: k}
	line, err := e.AppendLine(nil, &r)
	if want := vectorText + `,"sig":"` + vectorSig + "\"}\n"; err != nil || string(line) != want {
		t.Errorf("have %s, %v\nwant %s", line, err, want)
	}
	r.CRC = true
	block, err := e.AppendBlock(nil, &r, 0)
	if err != nil || len(block) != Block {
		t.Fatalf("%d bytes, %v", len(block), err)
	}
	if err := k.Verify(block); err != nil {
		t.Error(err)
	}
	if got, err := Parse(block, "svc-1"); err != nil || !got.CRC || len(got.Sig) != 64 {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range len(strings.TrimRight(string(block), " \n")) {
		bad := append([]byte(nil), block...)
		bad[i] ^= 1
		if err := k.Verify(bad); err == nil {
			t.Errorf("byte %d turned over: accepted", i)
		}
	}
}

func TestVerifyReasons(t *testing.T) {
	k := vectorKey(t)
	good := vectorText + `,"sig":"` + vectorSig + `"}`
	for _, tt := range []struct {
		text string
		want error
	}{
		{good, nil}, {good + "   \n", nil},
		{"", &Reject{Reason: Unsigned}},
		{vectorText + "}", &Reject{Reason: Unsigned}},
		{good[:len(good)-1], &Reject{Reason: Unsigned}},
		{strings.Replace(good, "c358", "C358", 1), &Reject{Reason: BadSignature}},
		{strings.Replace(good, `"seq":7`, `"seq":8`, 1), &Reject{Reason: BadSignature}},
		{strings.Replace(good, vectorSig, strings.Repeat("0", 64), 1), &Reject{Reason: BadSignature}},
	} {
		if err := k.Verify([]byte(tt.text)); fmt.Sprint(err) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v, want %v", tt.text, err, tt.want)
		}
	}
}

func TestKeySizes(t *testing.T) {
	for n, want := range map[int]bool{0: false, 15: false, 16: true, 32: true, 64: true, 65: false} {
		if _, err := NewKey(make([]byte, n)); (err == nil) != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestLoadKey is long: a table of files that are no keys.
func TestLoadKey(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "svc.key")
	text := hex.EncodeToString([]byte("0123456789abcdef"))
	put := func(text string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	want, err := NewKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		fault      string
	}{
		{"0600", text, 0o600, ""}, {"0400", text + "\n", 0o400, ""}, {"capitals", strings.ToUpper(text), 0o600, ""},
		{"0644", text, 0o644, "has mode 0644, want 0600 or less"}, {"0620", text, 0o620, "has mode 0620"},
		{"0700", text, 0o700, "has mode 0700"},
		{"empty", "", 0o600, "want 32 to 128 hexadecimal digits"}, {"short", text[2:], 0o600, "want 32 to 128"},
		{"odd", text + "0", 0o600, "an even number"}, {"raw", "\x00\x01" + text, 0o600, "want 32 to 128"},
		{"long", strings.Repeat("0", 130), 0o600, "want 32 to 128"}, {"two lines", text + "\n" + text, 0o600, "want 32 to 128"},
		{"huge", strings.Repeat("0", 1<<20), 0o600, "want 32 to 128"},
	} {
		put(tt.text, tt.mode)
		for _, from := range []string{path, dir} {
			k, err := LoadKey(from, "svc")
			switch {
			case tt.fault == "" && (err != nil || *k != *want):
				t.Errorf("%s: %v", tt.name, err)
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || !strings.HasPrefix(err.Error(), path+": key file")):
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
	if _, err := LoadKey(dir, "other"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "other.key: open key file") {
		t.Errorf("none there: %v", err)
	}
	link := filepath.Join(dir, "link.key")
	put(text, 0o600)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(link, "svc"); err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
		t.Errorf("symlink: %v", err)
	}
	fifo := filepath.Join(dir, "fifo.key")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(fifo, "svc"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("FIFO: %v", err)
	}
}

func TestReadUnderTerms(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "svc-A-01.hb")
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	k := vectorKey(t)
	other, err := NewKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		signer *Key
		reason Reason
	}{{"signed", k, 0}, {"another key", other, BadSignature}, {"unsigned", nil, Unsigned}} {
		h := newFile(t, path)
		h.Key = tt.signer
		r := sample()
		r.Sig = ""
		if err := h.Write(&r); err != nil {
			t.Fatal(err)
		}
		h.Close()
		got, _, err := ReadUnder(d, filepath.Base(path), Terms{Verify: k.Verify})
		var rej *Reject
		switch {
		case tt.signer == k && (err != nil || got.Seq != r.Seq):
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		case tt.signer != k && (!errors.As(err, &rej) || rej.Reason != tt.reason || got.ID != ""):
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		if _, _, err := ReadUnder(d, filepath.Base(path), Terms{}); err != nil {
			t.Errorf("%s, without terms: %v", tt.name, err)
		}
	}
}

// FuzzSHA256 holds our SHA-256 and HMAC against those of the standard library.
func FuzzSHA256(f *testing.F) {
	for _, n := range []int{0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000} {
		f.Add([]byte(strings.Repeat("k", 16+n%49)), []byte(strings.Repeat("a", n)))
	}
	f.Fuzz(func(t *testing.T, secret, text []byte) {
		if got, want := shaInit.sum(0, text), sha256.Sum256(text); got != want {
			t.Errorf("sha256 of %d bytes: have %x, want %x", len(text), got, want)
		}
		k, err := NewKey(secret)
		if err != nil {
			return
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(text)
		if got, want := string(k.Sign(nil, text)), hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("hmac of %d bytes: have %s, want %s", len(text), got, want)
		}
		_ = k.Verify(text)
	})
}
