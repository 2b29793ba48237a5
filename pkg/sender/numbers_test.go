package sender

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/heartbeat"
)

func TestParseNumbers(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "[]"}, {"\n # nothing\n\n", "[]"}, {"{}", "[]"},
		{"a=1\nb=-2.5e3\n", "[{a 1} {b -2500}]"},
		{"a 1\r\n b\t \n", "line 2: \"b=\": want a number behind the ="},
		{"queue.depth 17\nlat_p95 = 120\n", "[{queue.depth 17} {lat_p95 120}]"},
		{` {"a":1,"b":0.5} `, "[{a 1} {b 0.5}]"},
		{`{"a":1,"a":2}`, "offset 7: duplicate key"}, {`{"a":"x"}`, `"a": offset 5: want a number`},
		{`{"a":1} trailing`, "offset 8: text behind the object"},
		{"a=1\na=2", "metric a: given twice"}, {"a=NaN", `line 1: metric a: want a finite number`},
		{"a=1e999", `line 1: "a=1e999": want a number behind the =`}, {"=1", `line 1: metric "": want a name`},
		{"a b=1", `line 1: metric "a b": want a name`}, {"\x00\x01", "line 1:"},
		{strings.Repeat("x=1\n", 1), "[{x 1}]"},
		{many(16), "{k15 15}]"}, {many(17), "17 metrics, want at most 16"},
	} {
		ms, err := ParseNumbers([]byte(tt.text))
		got := fmt.Sprint(ms)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d=%d\n", i, i)
	}
	return b.String()
}

func FuzzParseNumbers(f *testing.F) {
	for _, s := range []string{"a=1\nb 2\n# c\n", `{"a":1,"b":-0.5}`, "{", "=", "a=1e999", "\xff=1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ms, err := ParseNumbers(text)
		if err != nil {
			return
		}
		r := heartbeat.Record{ID: "x", Boot: strings.Repeat("0", 32), IntervalMS: 1, Metrics: ms}
		if _, err := heartbeat.AppendBlock(nil, &r, 0); err != nil {
			t.Errorf("%q: taken, but not written: %v", text, err)
		}
	})
}

// Whatever is put in its place, a file of numbers never blocks and is bounded.
func TestReadNumbersIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "numbers")
	for name, tt := range map[string]struct {
		make func() error
		want string
	}{
		"missing":   {func() error { return nil }, "open numbers: no such file or directory"},
		"FIFO":      {func() error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		"device":    {func() error { return os.Symlink("/dev/zero", path) }, "not a regular file"},
		"directory": {func() error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"1 GiB": {func() error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<30) // a hole
		}, "over 4096 bytes"},
		"garbage": {func() error { return os.WriteFile(path, []byte("\x00\xff"), 0o600) }, "numbers: line 1:"},
	} {
		if err := tt.make(); err != nil {
			t.Fatal(err)
		}
		if _, err := readNumbers(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
