package crash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
)

func TestParseConfig(t *testing.T) {
	c := Defaults()
	err := c.ParseConfig("f", []byte("# all of it\n\nspool /s\n max-size  2G \nkeep 3\nkeep-bytes 4G\nkeep-free 0\nwindow 10s\ngzip yes\nstacks no\nargs yes\nlog /l\nhb /h\nhold /d\n"))
	want := Config{
		Spool: "/s", MaxSize: 2 << 30, Limits: spool.Limits{Keep: 3, KeepBytes: 4 << 30}, Window: 10 * time.Second,
		Gzip: true, Args: true, Log: "/l", Beats: "/h", Holds: "/d",
	}
	if err != nil || c != want {
		t.Errorf("%+v, %v\nwant %+v", c, err, want)
	}
	for line, complaint := range map[string]string{
		"spool relative": "f: line 1: spool: want an absolute path",
		"\nkeep -1":      "f: line 2: keep: want a whole number",
		"keep":           "f: line 1: keep: want a whole number",
		"max-size 1.5G":  "f: line 1: max-size: want bytes",
		"gzip true":      "f: line 1: gzip: want yes or no",
		"window 10":      "f: line 1: window: want a time",
		"window -1s":     "f: line 1: window: want a time",
		"\x1b[31mred":    `f: line 1: no such word: \x1b[31mred`,
	} {
		c := Defaults()
		err := c.ParseConfig("f", []byte(line))
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), complaint) {
			t.Errorf("%q: %v, want %s", line, err, complaint)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("spool /s\nkeep 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Defaults()
		if err := c.ParseConfig("f", text); err == nil && (!filepath.IsAbs(c.Spool) || c.Limits.Keep < 0 || c.MaxSize < 0 || c.Window < 0) {
			t.Errorf("%+v", c)
		}
	})
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "corecap")
	for _, missing := range []string{path, filepath.Join(dir, "no", "such")} {
		if c, err := ReadConfig(missing); err != nil || c != Defaults() {
			t.Errorf("without a file: %+v, %v", c, err)
		}
	}
	if err := os.WriteFile(path, []byte("keep 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadConfig(path); err != nil || c.Limits.Keep != 3 || c.Spool != Defaults().Spool {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path); !errors.Is(err, rundir.ErrUntrusted) || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("writable for all: %v", err)
	}
}
