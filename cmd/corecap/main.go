// Command corecap captures a core of a live process, which goes on afterwards.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/capture"
	"vigil/pkg/cli"
	"vigil/pkg/crash"
	"vigil/pkg/spool"
)

var tool = cli.Tool{
	Name:     "corecap",
	Synopsis: "corecap [flags] PID | corecap stacks [flags] PID|CORE",
	Summary:  "Captures an ELF core of a live process, which goes on afterwards.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "the core is complete"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "no core: no such process, it must not be captured, or the output failed"},
	},
}

func main() { cli.Main(tool, run) }

// subcommands do something else than capture.
var subcommands = map[string]func(env *cli.Env, args []string) int{
	"stacks": printStacks, "handler": handleCrash, "prune": prune, "pattern": pattern,
	crash.Unwinder: unwindFenced,
}

func run(env *cli.Env, args []string) int {
	if len(args) > 0 && subcommands[args[0]] != nil {
		return subcommands[args[0]](env, args[1:])
	}
	fs := env.Flags()
	out := fs.String("o", "", "write the core to `FILE`, or to stdout for - (default COMM_PID_TIME.core in the current directory)")
	mode := fs.String("mode", capture.Auto, "`WORD`: "+strings.Join(capture.Modes(), ", "))
	force := fs.Bool("force", false, "also capture a process that is not dumpable")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return env.Usage("want one PID, have %d", fs.NArg())
	}
	if !slices.Contains(capture.Modes(), *mode) {
		return env.Usage("mode %q: want %s", *mode, strings.Join(capture.Modes(), ", "))
	}
	opt := capture.Options{Mode: *mode}
	pid, err := parsePID(fs.Arg(0))
	if err != nil {
		return env.Usage("%v", err)
	}
	// An output that may not grow is then an error, not a death with the
	// target in hand (setrlimit(2), RLIMIT_FSIZE), and a Ctrl-Z does not leave
	// the target stopped as well.
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	if *out == "-" && spool.Terminal(os.Stdout) {
		return env.Usage("stdout is a terminal: a core does not go there")
	}
	target, err := capture.Open(pid, *force)
	if err != nil {
		return env.Fail(offer(err))
	}
	defer target.Close()
	path := *out
	if path == "" {
		path = target.Name(time.Now())
	}
	var report *capture.Report
	if path == "-" {
		path = "stdout"
		report, err = target.Stream(env.Context(), env.Stdout, opt)
	} else {
		report, err = target.Save(env.Context(), path, opt, capture.About{Build: cli.Version()})
	}
	if err != nil {
		return env.Fail(offer(err))
	}
	say(env, path, report)
	return cli.ExitOK
}

func parsePID(s string) (int, error) {
	pid, err := strconv.ParseInt(s, 10, 32)
	switch {
	case err != nil || pid <= 0:
		return 0, errors.New("PID " + strconv.Quote(s) + ": not the number of a process")
	case int(pid) == os.Getpid():
		return 0, errors.New("PID " + s + ": corecap does not capture itself")
	}
	return int(pid), nil
}

// offer names what can be had without ptrace, where that was denied.
func offer(err error) error {
	if d, ok := errors.AsType[*capture.Denied](err); ok {
		return fmt.Errorf("%w; without ptrace: diagfifo dump -pid %d", err, d.PID)
	}
	return err
}

// say reports what happened: first what is missing, then the result.
func say(env *cli.Env, path string, r *capture.Report) {
	for _, l := range r.LeftOut {
		env.Log.Warn("a thread did not stop and has no registers in the core", "tid", l.TID, "state", string(rune(l.State)))
	}
	if r.Unread > 0 {
		env.Log.Warn("some memory could not be read and is zero in the core", "bytes", r.Unread)
	}
	env.Log.Info(filepath.Base(path)+" captured", "threads", r.Threads, "bytes", r.Bytes, "size", r.Size, "mode", r.Mode, "pause_us", r.Pause.Microseconds())
}
