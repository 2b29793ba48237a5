package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/cli"
)

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var usage *cli.UsageError
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error
		usage  bool
	}{
		{"good", func(*Config) {}, "", false},
		{"short timeout", func(c *Config) { c.Timeout = 999 * time.Millisecond }, "-timeout 999ms: want whole seconds", true},
		{"odd timeout", func(c *Config) { c.Timeout = 1500 * time.Millisecond }, "-timeout 1.5s: want whole seconds", true},
		{"timeout over 32 bits", func(c *Config) { c.Timeout = 1 << 31 * time.Second }, "want whole seconds", true},
		{"no timeout", func(c *Config) { c.Timeout = 0 }, "-timeout 0s: ", true},
		{"interval over a third", func(c *Config) { c.Interval = 20001 * time.Millisecond }, "want at most a third of the timeout, 20s", true},
		{"interval of a third", func(c *Config) { c.Interval = 20 * time.Second }, "", false},
		{"tiny interval", func(c *Config) { c.Interval = time.Millisecond }, "-interval 1ms: want at least 10ms", true},
		{"negative interval", func(c *Config) { c.Interval = -time.Second }, "-interval -1s: ", true},
		{"no such device", func(c *Config) { c.Device = file + ".none" }, "no such file", false},
		{"file as device", func(c *Config) { c.Device = file }, "is a regular file", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, newFake(t), file)
			c.Device = ""
			tt.change(&c)
			err := c.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if errors.As(err, &usage) != tt.usage {
				t.Errorf("%v: usage %t, want %t", err, !tt.usage, tt.usage)
			}
		})
	}
	c := config(t, newFake(t), file)
	c.Device = file + ".none"
	if err := c.Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not match fs.ErrNotExist", err)
	}
}
