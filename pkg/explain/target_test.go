package explain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/control"
)

func TestTargetReused(t *testing.T) {
	target := byPID(t, os.Getpid())
	target.start-- // as if the number had been another's before
	_, err := target.Find()
	var refusal *control.Refusal
	if !errors.As(err, &refusal) || refusal.Code != control.Gone || !strings.Contains(err.Error(), "another process has the number now") {
		t.Error(err)
	}
}

func TestTargetGone(t *testing.T) {
	cmd := child(t, "sleep", "0")
	_ = cmd.Wait()
	if _, err := ByPID(cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestPidfile(t *testing.T) {
	path := t.TempDir() + "/svc.pid"
	write := func(text string) {
		t.Helper()
		// A new file, as a restart makes: the time of the old one may be the same.
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	target := ByPidfile(path)
	find := func() string {
		st, err := target.Find()
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(st.PID)
	}
	if got := find(); got != path+": pidfile: open: no such file or directory" {
		t.Error(got)
	}
	a, b := child(t, "sleep", "1000"), child(t, "sleep", "1000")
	for _, cmd := range []*exec.Cmd{a, b, a} {
		write(fmt.Sprintf("%d\n", cmd.Process.Pid))
		if got := find(); got != strconv.Itoa(cmd.Process.Pid) {
			t.Error(got)
		}
	}
	// The same file, and the number is another's.
	target.start--
	if got := find(); !strings.Contains(got, "another process has the number now") {
		t.Error(got)
	}
	// Written anew, it means whoever has the number.
	write(fmt.Sprintf(" %d \n", a.Process.Pid))
	if got := find(); got != strconv.Itoa(a.Process.Pid) {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"": "want a process id", "x": "want a process id", "-1": "want a process id", "0": "want a process id",
		"99999999999999999999": "want a process id", strings.Repeat("1", 5000): "want a process id",
		"1073741823": "no such process",
	} {
		write(text)
		if got := find(); !strings.Contains(got, want) {
			t.Errorf("%.20q: %s", text, got)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := find(); !strings.Contains(got, "writable for everybody") {
		t.Error(got)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := find(); !strings.Contains(got, "not a regular file") {
		t.Error(got)
	}
}
