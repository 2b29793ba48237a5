package capture

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/gate"
)

func gdb(t *testing.T, exe, core, command string) string {
	t.Helper()
	out, err := exec.Command("gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set width 0", "-ex", command, exe, core).CombinedOutput()
	if err != nil {
		t.Fatalf("gdb: %v: %s", err, out)
	}
	return string(out)
}

// byThread cuts the output of "thread apply all" at its headings; what comes
// before the first is named "".
func byThread(out string) map[string]string {
	parts := map[string]string{}
	lwp := ""
	heading := regexp.MustCompile(`^Thread \d+ \(.*LWP (\d+)\)`)
	for line := range strings.Lines(out) {
		if m := heading.FindStringSubmatch(line); m != nil {
			lwp = m[1]
			continue
		}
		parts[lwp] += line
	}
	return parts
}

// The target is stopped by SIGSTOP and captured by gdb and by us: gdb must see
// the same in both cores.
func TestGDBAgrees(t *testing.T) {
	gate.Need(t, "gdb", "gcc", "ptrace")
	l := start(t, "threads")
	l.stop(t)
	core, r := l.capture(t)
	if r.Threads != 50 || len(r.LeftOut) > 0 || r.Unread > 0 {
		t.Errorf("report %+v", r)
	}
	l.stands(t) // it was not let run
	theirs := filepath.Join(t.TempDir(), "gcore")
	if out, err := exec.Command("gcore", "-o", theirs, strconv.Itoa(l.pid)).CombinedOutput(); err != nil {
		t.Fatalf("gcore: %v: %s", err, out)
	}
	theirs += "." + strconv.Itoa(l.pid)
	for _, command := range []string{"thread apply all bt", "thread apply all info all-registers", "thread apply all x/64gx $sp"} {
		ours, theirs := byThread(gdb(t, l.Path, core, command)), byThread(gdb(t, l.Path, theirs, command))
		if strings.Contains(ours[""], "warning") {
			t.Errorf("%s: %s", command, ours[""])
		}
		if len(ours) != 51 {
			t.Errorf("%s: %d threads", command, len(ours)-1)
		}
		for lwp, want := range theirs {
			if got := ours[lwp]; lwp != "" && got != want {
				t.Errorf("%s: thread %s:\n%s\nwant:\n%s", command, lwp, got, want)
			}
		}
	}
	bt := gdb(t, l.Path, core, "thread apply all bt")
	for _, f := range []string{"f10 ", "f58 ", "bottom ", "spin ", "recurse ", "main "} {
		if !strings.Contains(bt, " in "+f) && !strings.Contains(bt, "  "+f) {
			t.Errorf("no frame %s in %s", f, bt)
		}
	}
	for _, command := range []string{"info auxv", "info proc mappings", "info sharedlibrary"} {
		// What precedes the answer tells how the process ended, which gdb sees differently.
		answer := func(core string) string {
			_, out, _ := strings.Cut(gdb(t, l.Path, core, command), "\n#0 ")
			_, out, _ = strings.Cut(out, "\n")
			return regexp.MustCompile(`(?m)^\[Current thread.*\n|^\d+\t.*\n`).ReplaceAllString(out, "")
		}
		if got, want := answer(core), answer(theirs); got != want || len(got) < 100 {
			t.Errorf("%s:\n%s\nwant:\n%s", command, got, want)
		}
	}
	if out := gdb(t, l.Path, core, "p $_siginfo.si_signo"); !strings.Contains(out, "= 19") {
		t.Errorf("siginfo: %s", out)
	}
	syscall.Kill(l.pid, syscall.SIGCONT)
	eventually(t, "SIGCONT", func() bool { return l.state(t).State != 'T' })
}

func TestElfutilsAgree(t *testing.T) {
	gate.Need(t, "elfutils", "gcc", "ptrace")
	l := start(t, "calls")
	core, r := l.capture(t)
	cmd := exec.Command("eu-readelf", "-n", core)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("eu-readelf: %v: %s", err, &stderr)
	}
	for note, want := range map[string]int{"PRSTATUS": r.Threads, "FPREGSET": r.Threads, "SIGINFO": r.Threads, "PRPSINFO": 1, "AUXV": 1, "FILE": 1} {
		if got := len(regexp.MustCompile(`(?m)^  CORE +\d+  `+note+`$`).FindAll(out, -1)); got != want {
			t.Errorf("%d notes %s, want %d", got, note, want)
		}
	}
	if runtime.GOARCH == "amd64" && bytes.Count(out, []byte("X86_XSTATE")) != r.Threads {
		t.Error("not every thread has its X86_XSTATE")
	}
	if !regexp.MustCompile(`fname: target,?\s+psargs: ` + regexp.QuoteMeta(l.Path) + " calls").Match(out) {
		t.Errorf("process: %.600s", out)
	}
}

// The copy of a process that runs must show a debugger the same threads, frames
// and variables as the stopped process does.
func TestGDBAgreesOnCopies(t *testing.T) {
	gate.Need(t, "gdb", "elfutils")
	l := (*live)(nil)
	cores := map[string]string{}
	for _, mode := range everyMode(t) {
		if l == nil {
			l = start(t, "threads")
		}
		target, err := Open(l.pid, false)
		if err != nil {
			t.Fatal(err)
		}
		cores[mode] = filepath.Join(t.TempDir(), mode+".core")
		if _, err := target.Save(t.Context(), cores[mode], Options{Mode: mode}, About{}); err != nil {
			t.Fatal(err)
		}
		target.Close()
	}
	// Some threads compute, some begin a call anew: their place in a line differs.
	moving := regexp.MustCompile(`0x[0-9a-f]+ in |target\.c:\d+|epfd=\d+`)
	frames := func(mode string) map[string]string {
		out := gdb(t, l.Path, cores[mode], "thread apply all bt")
		if strings.Contains(out, "warning") {
			t.Errorf("%s: %.2000s", mode, out)
		}
		parts := byThread(moving.ReplaceAllString(out, ""))
		delete(parts, "")
		return parts
	}
	want := frames("stop")
	if len(want) != 50 {
		t.Errorf("%d threads", len(want))
	}
	for _, mode := range []string{"precopy", "fork"} {
		got := frames(mode)
		for lwp, bt := range want {
			if got[lwp] != bt {
				t.Errorf("%s: thread %s:\n%s\nwant:\n%s", mode, lwp, got[lwp], bt)
			}
		}
		var stderr bytes.Buffer
		cmd := exec.Command("eu-readelf", "-n", cores[mode])
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: eu-readelf: %v: %s", mode, err, &stderr)
		}
	}
}
