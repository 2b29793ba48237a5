package corecap

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"vigil/pkg/cli"
	"vigil/pkg/crash"
	"vigil/pkg/fence"
	"vigil/pkg/spool"
	"vigil/pkg/stacks"
)

var handlerTool = cli.Tool{
	Name:     "handler",
	Synopsis: "corecap handler [-config FILE] %P %i %s %d %u %g %t [%F]",
	Summary:  "Saves the core that the kernel writes to its standard input: core_pattern(5) starts it.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "the crash was saved, or counted"},
		{Code: cli.ExitUsage, Meaning: "wrong arguments or configuration: nothing was saved"},
		{Code: cli.ExitSystem, Meaning: "nothing was saved: the log says why"},
	},
}

// kernelLog is where messages go that have no other place.
const kernelLog = "/dev/kmsg"

func handleCrash(env *cli.Env, args []string) int {
	env = env.Command(handlerTool)
	flags := env.Flags()
	path := flags.String("config", crash.ConfigPath, "read what to do from `FILE`")
	if code, done := env.Parse(flags, args); done {
		return code
	}
	if flags.NArg() == 0 { // the kernel always gives some: this is somebody who tries it
		return env.Usage("the kernel starts this, see corecap pattern")
	}
	syscall.Umask(0o077)
	config, err := crash.ReadConfig(*path)
	// Messages to people go where somebody will read them: nobody sees the
	// standard error of what the kernel starts.
	env.Log = cli.NewLog(tool.Name, openLog(config.Log))
	if err != nil {
		return env.Fail(err)
	}
	event, err := crash.ParseEvent(flags.Args())
	if err != nil {
		return env.Usage("%v", err)
	}
	h := &crash.Handler{Config: config, Build: cli.Version(), Core: waitable(os.Stdin)}
	saved, err := h.Save(env.Context(), event)
	if saved == nil {
		return env.Fail(err)
	}
	if err != nil {
		env.Log.Warn(err.Error())
	}
	tell(env, event, saved)
	if !saved.Counted {
		afterwards(env, h, event, saved)
	}
	return cli.ExitOK
}

// waitable lets reads of a pipe have deadlines.
func waitable(f *os.File) *os.File {
	fd := f.Fd()
	_ = syscall.SetNonblock(int(fd), true)
	return os.NewFile(fd, f.Name())
}

func tell(env *cli.Env, e crash.Event, s *crash.Saved) {
	kv := []any{"pid", e.PID, "uid", e.UID, "signal", s.Signal, "number", s.Number}
	if s.Counted {
		env.Log.Info(s.Program+": crashed, counted only: a newer crash is saved", kv...)
		return
	}
	kv = append(kv, "core", s.Base+".core", "bytes", s.Bytes, "mode", s.Mode, "down_ms", s.Pause.Milliseconds())
	if s.Partial != "" {
		env.Log.Warn(s.Program+": crashed: core is partial: "+s.Partial, kv...)
		return
	}
	env.Log.Info(s.Program+": crashed", kv...)
}

// afterwards does what the process that crashed has not to wait for.
func afterwards(env *cli.Env, h *crash.Handler, e crash.Event, s *crash.Saved) {
	if !h.Stacks && !h.Gzip {
		return
	}
	leave, err := spool.Queue(h.Spool)
	if err != nil {
		env.Log.Warn(s.Base + ".core: left as it is: " + err.Error())
		return
	}
	defer leave()
	runtime.LockOSThread()
	spool.Background()
	if h.Stacks {
		// Not the path that we were started by, which may be another program now.
		err := h.Unwind(env.Context(), "/proc/self/exe", e, s)
		if errors.Is(err, fs.ErrNotExist) {
			return // replaced by a newer crash
		}
		if err != nil {
			env.Log.Warn(err.Error())
		}
	}
	if h.Gzip {
		if err := spool.Compress(filepath.Join(h.Spool, s.Base+".core")); err != nil {
			env.Log.Warn(err.Error())
		}
	}
}

// openLog opens a log of its own or that of the kernel. Without either, messages
// are lost: there is nobody left to tell.
func openLog(path string) io.Writer {
	if path != "" {
		// Several handlers write at once, a line each.
		const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
		if f, err := os.OpenFile(path, flags, 0o600); err == nil {
			return f
		}
	}
	f, err := os.OpenFile(kernelLog, os.O_WRONLY, 0)
	if err != nil {
		return os.Stderr
	}
	return kernelLines{f}
}

// kernelLines puts the priority in front of a line that the kernel's log wants
// (Documentation/ABI/testing/dev-kmsg).
type kernelLines struct{ f *os.File }

func (k kernelLines) Write(line []byte) (int, error) {
	priority := "<14>" // user, info
	switch {
	case strings.HasPrefix(string(line), "corecap: error"):
		priority = "<11>"
	case strings.HasPrefix(string(line), "corecap: warning"):
		priority = "<12>"
	}
	if _, err := k.f.Write(append([]byte(priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// unwindFenced is the Unwinder of package crash.
func unwindFenced(env *cli.Env, args []string) int {
	if err := leaveRoot(args); err != nil {
		return env.Fail(err)
	}
	if err := fence.Enter(crash.FenceLimits); err != nil {
		return env.Fail(err)
	}
	p, err := stacks.FromCore(os.Stdin, "core", stacks.DefaultLimit)
	if err != nil {
		return env.Fail(err)
	}
	var out strings.Builder
	if err := p.Text(&out); err != nil {
		return env.Fail(err)
	}
	return env.Print([]byte(out.String()))
}

// leaveRoot takes on the uid and the gid of args, if there are any.
func leaveRoot(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if len(args) == 2 {
		uid, err1 := strconv.Atoi(args[0])
		gid, err2 := strconv.Atoi(args[1])
		if errors.Join(err1, err2) == nil {
			return fence.Become(uid, gid)
		}
	}
	return cli.Usagef("%s: the handler starts it", crash.Unwinder)
}
