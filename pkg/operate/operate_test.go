package operate

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/control"
	"vigil/pkg/explain"
)

const generous = 5 * time.Minute

type silent struct{}

func (silent) Info(string, ...any) {}
func (silent) Warn(string, ...any) {}

func codeOf(t *testing.T, err error) control.Code {
	t.Helper()
	var refusal *control.Refusal
	if err == nil || !errors.As(err, &refusal) {
		t.Fatalf("%v: not a refusal", err)
	}
	return refusal.Code
}

func call(words ...string) control.Call {
	var c control.Call
	for i := 0; i < len(words); i += 2 {
		c.Pairs = append(c.Pairs, control.Pair{Key: words[i], Value: words[i+1]})
	}
	return c
}

func TestNewSignals(t *testing.T) {
	for list, want := range map[string]string{
		"": `"": no such signal`, "HUP,": `"": no such signal`, "hup": `"hup": no such signal`, "HUP,KILL": "KILL: cannot be caught",
		"SIGSTOP": "STOP: cannot be caught", "9": `"9": no such signal`,
	} {
		if _, err := NewSignals(nil, silent{}, list); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", list, err, want)
		}
	}
	for name, want := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "TERM": syscall.SIGTERM, "CHLD": syscall.SIGCHLD, "WINCH": syscall.SIGWINCH, "SYS": syscall.SIGSYS,
	} {
		if got := number(name); got != int(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestSignal sends to this process, which catches one of two signals.
func TestSignal(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR2)
	defer signal.Stop(got)
	target, err := explain.ByPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSignals(target, silent{}, "SIGUSR2,HUP")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.send(call("name", "USR2")); err != nil || len(r.Pairs) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	select {
	case <-got:
	case <-time.After(generous):
		t.Error("nothing came")
	}
	_, err = s.send(call("name", "USR1"))
	if code := codeOf(t, err); code != control.Denied {
		t.Errorf("not allowed: %s", code)
	}
}

// TestSignalUncaught: a process that would die of it does not get it.
func TestSignalUncaught(t *testing.T) {
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	target, err := explain.ByPID(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSignals(target, silent{}, "USR1,TERM")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"USR1", "SIGTERM"} {
		_, err := s.send(call("name", name))
		if code := codeOf(t, err); code != control.Uncaught {
			t.Errorf("%s: %s", name, code)
		}
	}
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait()
	_, err = s.send(call("name", "TERM"))
	if code := codeOf(t, err); code != control.Gone {
		t.Errorf("after its end: %s", code)
	}
}

func TestCoreRate(t *testing.T) {
	var k Captures
	if err := k.admit(); err != nil {
		t.Error(err)
	}
	if code := codeOf(t, k.admit()); code != control.Busy {
		t.Errorf("%s", code)
	}
	k.last -= coreEvery
	if err := k.admit(); err != nil {
		t.Error(err)
	}
}

func TestTrusted(t *testing.T) {
	me := os.Geteuid()
	for _, tt := range []struct {
		uid  int
		mode uint32
		want string
	}{
		{0, 0o755, ""}, {me, 0o500, ""}, {me + 1, 0o755, "belongs to uid"}, {me, 0o775, "writable"}, {me, 0o757, "writable"}, {me, 0o644, "not executable"},
	} {
		err := trusted("/x", tt.uid, tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
