// Package sleeper gives test scripts a process that sleeps, and lets them wait until
// it does: when a program is started it has yet to load its libraries, and when a
// tracer has let it go it has yet to be given a processor.
//
// The package is for tests only; no program imports it.
package sleeper

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// patience is more than the busiest machine needs.
const patience = 5 * time.Minute

// Params are those of the scripts in dir. Each has the process in $PID, from its
// first line on asleep; "asleep" wants it untraced, and waits until it is so again.
func Params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			cmd := exec.Command("sleep", "1000000")
			if err := cmd.Start(); err != nil {
				return err
			}
			env.Defer(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			env.Setenv("PID", strconv.Itoa(cmd.Process.Pid))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each program would linger for a second
			// A run directory is its owner's alone, whatever the umask.
			return errors.Join(os.Chmod(env.WorkDir, 0o755), await(cmd.Process.Pid))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"asleep": asleep},
	}
}

func asleep(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	if err != nil || neg || len(args) > 0 {
		ts.Fatalf("usage: asleep")
	}
	ts.Check(await(pid))
}

// await waits until the process sleeps: for nothing else than what it is there for.
func await(pid int) error {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		st, err := procfs.ReadStat(pid)
		if err != nil {
			return err
		}
		switch tracer, err := procfs.Tracer(pid); {
		case err != nil:
			return err
		case tracer != 0:
			return fmt.Errorf("pid %d: traced by %d", pid, tracer)
		case st.State == 'S':
			return nil
		case time.Now().After(end):
			return fmt.Errorf("pid %d: not asleep: state %s", pid, string(rune(st.State)))
		}
	}
}
