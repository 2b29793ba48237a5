package crash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/rundir"
)

// mock is a kernel's files; what is written to them is read back and asserted.
func mock(t *testing.T, pattern, limit string) Kernel {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k := Kernel{Dir: dir, NS: filepath.Join(dir, "ns"), State: filepath.Join(dir, "state.json")}
	if err := os.Mkdir(k.NS, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range firstNamespaces {
		if err := os.Symlink(target, filepath.Join(k.NS, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.put(Setting{pattern, limit}); err == nil {
		t.Fatal("a file that is not there was written")
	}
	for _, name := range []string{"core_pattern", "core_pipe_limit"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.put(Setting{pattern, limit}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k Kernel) expect(t *testing.T, want Setting) {
	t.Helper()
	if got, err := k.Read(); err != nil || got != want {
		t.Errorf("in force: %+v, %v; want %+v", got, err, want)
	}
}

// systemProgram is a file that only root can replace, all the way up.
const systemProgram = "/proc/version"

func TestPattern(t *testing.T) {
	gate.Need(t, "root")
	old := Setting{"/var/crash/%e core", "0"}
	k := mock(t, old.Pattern, old.PipeLimit)
	ours := Setting{"|" + systemProgram + " " + Pattern, pipeLimit}
	if s, err := k.Set(systemProgram, "", k.Dir); err != nil || s != ours {
		t.Fatalf("%+v, %v", s, err)
	}
	k.expect(t, ours)
	if ours.Ours() {
		t.Error("a program of another name passes for corecap")
	}
	if _, err := k.Restore(); !errors.Is(err, ErrNotOurs) {
		t.Errorf("restore of a stranger's: %v", err)
	}
	k.expect(t, ours)

	// A tool in a program of several is named, and known by it.
	k = mock(t, old.Pattern, old.PipeLimit)
	s, err := k.Set(systemProgram, "corecap", k.Dir)
	if want := "|" + systemProgram + " corecap " + Pattern; err != nil || s.Pattern != want || !s.Ours() {
		t.Errorf("%+v, %v; want %q", s, err, want)
	}
	if s, err := k.Restore(); err != nil || s != old {
		t.Errorf("restored %+v, %v", s, err)
	}

	// As corecap: set twice, restored once.
	mine := Setting{"|/usr/sbin/corecap " + Pattern, "16"}
	k = mock(t, old.Pattern, old.PipeLimit)
	if err := errors.Join(k.keep(old), k.put(mine)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Set(systemProgram, "", k.Dir); err != nil {
		t.Fatal(err)
	}
	k.expect(t, Setting{ours.Pattern, "16"}) // a limit that somebody chose stays
	if err := k.put(mine); err != nil {
		t.Fatal(err)
	}
	if s, err := k.Restore(); err != nil || s != old {
		t.Errorf("restored %+v, %v", s, err)
	}
	k.expect(t, old)
	if _, err := os.Stat(k.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state: %v", err)
	}
}

func TestPatternRefuses(t *testing.T) {
	gate.Need(t, "root")
	old := Setting{"core", "0"}
	k := mock(t, old.Pattern, old.PipeLimit)
	dir := t.TempDir()
	program := filepath.Join(dir, "corecap")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/bin/true", link); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		program, complaint string
		trust              bool
	}{
		"relative":  {"corecap", "want an absolute path", false},
		"blank":     {"/opt/my corecap", "want an absolute path", false},
		"percent":   {"/opt/%p/corecap", "want an absolute path", false},
		"missing":   {"/no/such/corecap", "/no/such/corecap: no such file", false},
		"long":      {"/proc/self/root/proc/self/root/proc/self/root/proc/version", "", true},
		"link":      {link, link + ": is a symbolic link", true},
		"replaced":  {program, ": mode 0777", true}, // its directory, on the way to /tmp
		"no spool":  {systemProgram, "no place for cores: " + k.Dir + "/missing: open directory: no such file", false},
		"container": {systemProgram, "this is a container", false},
	} {
		k := k
		if name == "container" {
			k = mock(t, old.Pattern, old.PipeLimit)
			if err := errors.Join(os.Remove(filepath.Join(k.NS, "pid")), os.Symlink("pid:[1]", filepath.Join(k.NS, "pid"))); err != nil {
				t.Fatal(err)
			}
		}
		spool := k.Dir
		if name == "no spool" {
			spool += "/missing"
		}
		_, err := k.Set(test.program, "", spool)
		if err == nil || !strings.Contains(err.Error(), test.complaint) || errors.Is(err, rundir.ErrUntrusted) != test.trust {
			t.Errorf("%s: %v", name, err)
		}
		k.expect(t, old)
	}
}
