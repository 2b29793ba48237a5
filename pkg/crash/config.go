package crash

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
)

// ConfigPath is where the handler finds what it is to do: core_pattern has room
// for 127 bytes.
const ConfigPath = "/etc/vigil/corecap"

// Config is what the operator decides.
type Config struct {
	Spool   string        // directory of the captures
	MaxSize spool.Size    // bytes of data in a core; 0: all of it
	Limits  spool.Limits  // of the directory
	Window  time.Duration // the first and the last crash of a program within it are kept
	Gzip    bool          // compress the core when the process is gone
	Args    bool          // tell all arguments: they may hold secrets
	Stacks  bool          // unwind the stacks, when the process is gone
	Log     string        // file; "": the kernel's log
	Beats   string        // directory of heartbeats; "": none
	Holds   string        // directory of holds; "": none
}

// Defaults are in force where the file says nothing.
func Defaults() Config {
	return Config{
		Spool:  "/var/lib/vigil/core",
		Limits: spool.Limits{Keep: 10, KeepFree: 1 << 30},
		Window: time.Minute,
		Stacks: true,
	}
}

// words are the keys of the file.
func (c *Config) words() map[string]func(value string) error {
	text := func(p *string) func(string) error {
		return func(v string) error {
			if !strings.HasPrefix(v, "/") {
				return errors.New("want an absolute path: the handler is started in /")
			}
			*p = v
			return nil
		}
	}
	size := func(p *int64) func(string) error {
		return func(v string) error { return (*spool.Size)(p).Set(v) }
	}
	return map[string]func(string) error{
		"spool":      text(&c.Spool),
		"max-size":   c.MaxSize.Set,
		"keep":       func(v string) error { return number(&c.Limits.Keep, v) },
		"keep-bytes": size(&c.Limits.KeepBytes),
		"keep-free":  size(&c.Limits.KeepFree),
		"window":     func(v string) error { return duration(&c.Window, v) },
		"gzip":       yes(&c.Gzip),
		"args":       yes(&c.Args),
		"stacks":     yes(&c.Stacks),
		"log":        text(&c.Log),
		"hb":         text(&c.Beats),
		"hold":       text(&c.Holds),
	}
}

func yes(p *bool) func(string) error {
	return func(v string) error {
		*p = v == "yes"
		if !*p && v != "no" {
			return errors.New("want yes or no")
		}
		return nil
	}
}

func number(p *int, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return errors.New("want a whole number")
	}
	*p = int(n)
	return nil
}

func duration(p *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return errors.New("want a time, as 60s or 10m")
	}
	*p = d
	return nil
}

// ParseConfig reads lines "KEY VALUE" into c; empty lines and those that begin
// with # say nothing. Errors name the line of the file called name.
func (c *Config) ParseConfig(name string, text []byte) error {
	words := c.words()
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		set := words[key]
		if set == nil {
			return cli.Usagef("%s: line %d: no such word: %s", name, n, cli.Escape(key))
		}
		if err := set(strings.TrimSpace(value)); err != nil {
			return cli.Usagef("%s: line %d: %s: %w", name, n, key, err)
		}
	}
	if err := lines.Err(); err != nil {
		return cli.Usagef("%s: %w", name, err)
	}
	return nil
}

// maxConfig bounds the file.
const maxConfig = 64 << 10

// ReadConfig reads the file at path over the defaults. Without a file the
// defaults are in force. Only root, or whoever runs this, may be able to write
// it: what it says is done as root.
func ReadConfig(path string) (Config, error) {
	c := Defaults()
	dir, name := filepath.Split(path)
	d, err := rundir.Open(filepath.Clean(dir))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer d.Close()
	b, info, err := d.Read(name, maxConfig)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return c, nil
	case err != nil:
		return c, err
	case info.Mode&0o022 != 0, info.UID != 0 && info.UID != os.Geteuid():
		return c, fmt.Errorf("%s: uid %d, mode %04o: want it of root or one's own, and no write right for others: %w", path, info.UID, uint32(info.Mode), rundir.ErrUntrusted)
	}
	return c, c.ParseConfig(path, b)
}
