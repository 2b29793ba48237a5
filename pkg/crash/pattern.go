package crash

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

// StatePath is where the pattern is kept that was in force before.
const StatePath = "/var/lib/vigil/core_pattern.json"

const (
	maxPattern = 127 // CORENAME_MAX_SIZE, fs/coredump.c

	// pipeLimit is how many crashes the kernel lets be saved at once. It must not
	// be 0: then the kernel does not wait for a handler, and /proc/PID goes while
	// it is read. A waiting one costs a process of 3 MB, and the memory of what
	// crashed; of those beyond the limit the kernel says so and nothing is saved.
	pipeLimit = "64"
)

// Kernel is what decides where cores go. Its paths can be set for a test.
type Kernel struct {
	Dir   string // of the sysctls
	NS    string // of this process's namespaces
	State string // file
}

// Real is the kernel that runs.
var Real = Kernel{Dir: "/proc/sys/kernel", NS: "/proc/self/ns", State: StatePath}

// Setting is the two sysctls.
type Setting struct {
	Pattern   string
	PipeLimit string
}

// Ours says that cores go to a program of this name, ours, or to the tool of this
// name in a program of several.
func (s Setting) Ours() bool {
	path, args, _ := strings.Cut(s.Pattern, " ")
	return strings.HasPrefix(path, "|/") &&
		(filepath.Base(path) == "corecap" && strings.HasPrefix(args, "handler") || strings.HasPrefix(args, "corecap handler"))
}

// Read gives what is in force.
func (k Kernel) Read() (s Setting, err error) {
	if s.Pattern, err = k.get("core_pattern"); err == nil {
		s.PipeLimit, err = k.get("core_pipe_limit")
	}
	return s, err
}

func (k Kernel) get(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(k.Dir, name))
	if err != nil {
		return "", fmt.Errorf("%s/%s: read: %w", k.Dir, name, cause0(err))
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

func (k Kernel) put(s Setting) error {
	// The limit first: a pattern without it saves half of a crash.
	for _, f := range [...]struct{ name, value string }{{"core_pipe_limit", s.PipeLimit}, {"core_pattern", s.Pattern}} {
		if err := put(filepath.Join(k.Dir, f.name), f.value); err != nil {
			return fmt.Errorf("%s/%s: write: %w", k.Dir, f.name, cause0(err))
		}
	}
	return nil
}

// put writes to a file that is there.
func put(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

// Set makes program the handler, which will save into the directory spool, and
// keeps what was in force before. The word tool, if there is one, tells a program of
// several tools which of them it is. It is refused in a container: the pattern is the
// whole machine's, and its program is started in the first namespaces. So it is
// where the handler could save nothing: nobody would notice before the first crash.
func (k Kernel) Set(program, tool, spool string) (Setting, error) {
	if err := k.initial(); err != nil {
		return Setting{}, err
	}
	if err := trusted(program); err != nil {
		return Setting{}, fmt.Errorf("core_pattern: root would run %s: %w", program, err)
	}
	dir, err := rundir.Open(spool)
	if err != nil {
		return Setting{}, fmt.Errorf("core_pattern: no place for cores: %w", err)
	}
	dir.Close()
	s := Setting{Pattern: "|" + program + " " + Pattern, PipeLimit: pipeLimit}
	if tool != "" {
		s.Pattern = "|" + program + " " + tool + " " + Pattern
	}
	if len(s.Pattern) > maxPattern {
		return s, cli.Usagef("%s: path is too long: core_pattern has room for %d bytes", program, maxPattern)
	}
	old, err := k.Read()
	if err != nil {
		return s, err
	}
	if old.PipeLimit != "0" {
		s.PipeLimit = old.PipeLimit
	}
	if !old.Ours() {
		if err := k.keep(old); err != nil {
			return s, err
		}
	}
	if err := k.put(s); err != nil {
		return s, errors.Join(err, k.put(old))
	}
	return s, nil
}

// ErrNotOurs is reported by Restore when the pattern is not one of Set's: it was
// changed by somebody else since, and is left as it is.
var ErrNotOurs = errors.New("is not corecap's: left as it is")

// Restore puts back what Set has kept.
func (k Kernel) Restore() (Setting, error) {
	now, err := k.Read()
	if err != nil {
		return now, err
	}
	if !now.Ours() {
		return now, fmt.Errorf("core_pattern %s: %w", now.Pattern, ErrNotOurs)
	}
	old, err := k.kept()
	if err != nil {
		return old, err
	}
	if err := k.put(old); err != nil {
		return old, err
	}
	if err := os.Remove(k.State); err != nil {
		return old, fmt.Errorf("%s: remove: %w", k.State, cause0(err))
	}
	return old, nil
}

func (k Kernel) keep(s Setting) error {
	dir, err := rundir.Open(filepath.Dir(k.State))
	if err != nil {
		return err
	}
	defer dir.Close()
	var w jsonline.Writer
	w.Object("")
	w.Str("core_pattern", s.Pattern)
	w.Str("core_pipe_limit", s.PipeLimit)
	w.End()
	return dir.Write(filepath.Base(k.State), append(w.Bytes(), '\n'), 0o644)
}

func (k Kernel) kept() (s Setting, err error) {
	dir, err := rundir.Open(filepath.Dir(k.State))
	if err != nil {
		return s, err
	}
	defer dir.Close()
	b, _, err := dir.Read(filepath.Base(k.State), 4096)
	if err != nil {
		return s, err
	}
	err = jsonline.Parse(b, func(key string, v jsonline.Value) (err error) {
		switch key {
		case "core_pattern":
			s.Pattern, err = v.Str()
		case "core_pipe_limit":
			s.PipeLimit, err = v.Str()
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("%s: %w", k.State, err)
	}
	return s, nil
}

// The first namespaces have fixed numbers (include/linux/proc_ns.h).
var firstNamespaces = map[string]string{"pid": "pid:[4026531836]", "user": "user:[4026531837]"}

func (k Kernel) initial() error {
	for name, want := range firstNamespaces {
		got, err := os.Readlink(filepath.Join(k.NS, name))
		if err != nil {
			return fmt.Errorf("%s/%s: %w", k.NS, name, cause0(err))
		}
		if got != want {
			return fmt.Errorf("core_pattern: this is a container (%s namespace %s): it is the whole machine's, and has to be set outside", name, got)
		}
	}
	return nil
}

// trusted refuses a program that somebody else than root could replace: the
// kernel will run it as root.
func trusted(program string) error {
	if !strings.HasPrefix(program, "/") || strings.ContainsAny(program, " %\n") {
		return cli.Usagef("%s: want an absolute path without blanks and %%", cli.Escape(program))
	}
	for path := program; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, cause0(err))
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", path, fs.ErrInvalid)
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s: is a symbolic link: %w", path, rundir.ErrUntrusted)
		case st.Uid != 0:
			return fmt.Errorf("%s: belongs to uid %d, want root: %w", path, st.Uid, rundir.ErrUntrusted)
		case info.Mode().Perm()&0o022 != 0:
			return fmt.Errorf("%s: mode %04o, want no write right for group and others: %w", path, uint32(info.Mode().Perm()), rundir.ErrUntrusted)
		}
		if path == "/" {
			return nil
		}
	}
}
