package corecap

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/capture"
	"vigil/pkg/cli"
	"vigil/pkg/crash"
	"vigil/pkg/fmt"
	"vigil/pkg/ptrace"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
	"vigil/pkg/stacks"
)

var runTool = cli.Tool{
	Name:     "run",
	Synopsis: "corecap run -spool DIR [flags] -- PROG [ARG...]",
	Summary:  "Runs a program and saves a core if it crashes, without root; the program's end is that of corecap run.",
	Exits: []cli.Exit{
		{Code: cli.ExitUsage, Meaning: "wrong usage, or no such PROG in PATH; else what PROG leaves with"},
		{Code: cli.ExitSystem, Meaning: "PROG could not be started; else what PROG leaves with"},
	},
}

// Subcommands that corecap run starts: the starter becomes the program once its
// parent traces it; the finisher does what may take long when it has crashed.
const (
	starter  = "run-traced"
	finisher = "run-finish"
)

// exitSignal and the number of a signal is what shells leave with for a program
// that it ended: for where this process cannot end like that.
const exitSignal = 128

// under is how a program is run.
type under struct {
	env     *cli.Env
	spool   string
	pidfile string
	gzip    bool
	limits  spool.Limits
	opt     capture.Options
}

func runUnder(env *cli.Env, args []string) int {
	env = env.Command(runTool)
	u := under{env: env, limits: crash.Defaults().Limits, opt: capture.Options{Mode: "stop"}}
	maxSize, free := spool.Size(0), spool.Size(u.limits.KeepFree)
	flags := env.Flags()
	flags.StringVar(&u.spool, "spool", "", "write captures into the trusted directory `DIR`")
	flags.StringVar(&u.pidfile, "pidfile", "", "write the number of the program's process into `FILE`")
	flags.Func("max-size", "keep at most `SIZE` of memory in a core, as 512M or 4G (default no limit)", maxSize.Set)
	flags.IntVar(&u.limits.Keep, "keep", u.limits.Keep, "keep the newest `N` captures of the program; 0: all")
	flags.Func("keep-free", "leave `SIZE` of the file system free (default "+free.String()+")", free.Set)
	flags.BoolVar(&u.gzip, "gzip", false, "compress the core when the program has ended")
	if code, done := env.Parse(flags, args); done {
		return code
	}
	switch {
	case u.spool == "":
		return env.Usage("-spool: want a directory")
	case flags.NArg() == 0:
		return env.Usage("want a program to run")
	case u.limits.Keep < 0:
		return env.Usage("-keep %d: want 0 or more", u.limits.Keep)
	}
	u.opt.MaxSize, u.opt.KeepFree, u.limits.KeepFree = int64(maxSize), int64(free), int64(free)
	dir, err := rundir.Open(u.spool)
	if err != nil {
		return env.Fail(err)
	}
	dir.Close()
	program, err := lookup(flags.Arg(0), env.Getenv("PATH"))
	if err != nil {
		return env.Fail(err)
	}
	var end syscall.WaitStatus
	err = ptrace.Run(func() (err error) {
		end, err = u.run(program, flags.Args())
		return err
	})
	if err != nil {
		return env.Fail(err)
	}
	if end.Signaled() {
		ptrace.Die(end.Signal())
		return exitSignal + int(end.Signal())
	}
	return end.ExitStatus()
}

// run runs the program on the thread that traces it.
func (u *under) run(program string, argv []string) (syscall.WaitStatus, error) {
	child, goOn, err := begin(program, argv)
	if err != nil {
		return 0, fmt.Errorf("%s: start: %w", program, err)
	}
	defer goOn.Close()
	traced, err := ptrace.Attach(child.Pid)
	if err != nil {
		return 0, errors.Join(err, child.Kill())
	}
	if u.pidfile != "" {
		if err := writePID(u.pidfile, child.Pid); err != nil {
			return 0, errors.Join(err, child.Kill())
		}
		defer os.Remove(u.pidfile)
	}
	defer forward(u.env, child)()
	if _, err := goOn.Write([]byte{1}); err != nil {
		return 0, errors.Join(err, child.Kill())
	}
	saved := ""
	end, err := traced.Wait(func(tid int, sig syscall.Signal, info [ptrace.SiginfoSize]byte) {
		if saved, err = u.save(traced, tid, sig, info[:]); err != nil {
			u.env.Log.Error(err.Error())
		}
	})
	if saved != "" {
		if err := u.afterwards(saved); err != nil {
			u.env.Log.Warn(err.Error())
		}
	}
	return end, err
}

// lookup finds a program as execvp(3) does.
func lookup(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	for dir := range strings.SplitSeq(path, ":") {
		if found := filepath.Join(dir, name); dir != "" && executable(found) == nil {
			return found, nil
		}
	}
	return "", cli.Usagef("%s: no such program in PATH", name)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return openError(path, err)
	case info.IsDir(), info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: %w", path, fs.ErrPermission)
	}
	return nil
}

// begin starts this program again, as what will become the other one. It gets
// every descriptor that we were given.
func begin(program string, argv []string) (child *os.Process, goOn *os.File, err error) {
	wait, goOn, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer wait.Close()
	files := inherited()
	files = append(files, wait)
	child, err = os.StartProcess("/proc/self/exe", append([]string{os.Args[0], starter, strconv.Itoa(len(files) - 1), program}, argv...), &os.ProcAttr{
		Files: files,
		// Its supervisor takes us for the program: it must not outlive us.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		goOn.Close()
		return nil, nil, err
	}
	return child, goOn, nil
}

// maxInherited bounds the descriptors that are looked at. Supervisors pass 3 and
// a few more.
const maxInherited = 256

// inherited are the descriptors that a program run in our place would have, each
// at its index; nil where there is none.
func inherited() (files []*os.File) {
	for fd := range maxInherited {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC != 0 {
			continue
		}
		for len(files) <= fd {
			files = append(files, nil)
		}
		files[fd] = os.NewFile(uintptr(fd), "inherited")
	}
	return files
}

// The starter becomes the program in its first thread: that is the one which is
// traced, and any other would become it untraced. Only here main is sure to run there.
func init() {
	if len(os.Args) > 1 && os.Args[1] == starter {
		runtime.LockOSThread()
	}
}

// runTraced is the starter: it waits until its parent traces it, then becomes the
// program.
func runTraced(env *cli.Env, args []string) int {
	if len(args) < 3 {
		return env.Usage("%s: corecap run starts it", starter)
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return env.Usage("%s: corecap run starts it", starter)
	}
	wait := os.NewFile(uintptr(fd), "wait")
	syscall.CloseOnExec(fd)
	if _, err := io.ReadFull(wait, make([]byte, 1)); err != nil {
		return env.Fail(fmt.Errorf("%s: corecap run ended: %w", starter, err))
	}
	signal.Reset()
	return env.Fail(fmt.Errorf("%s: %w", args[1], syscall.Exec(args[1], args[2:], os.Environ())))
}

// forward passes on the signals that are meant for the program. What a terminal
// sends it sends to both.
func forward(env *cli.Env, child *os.Process) (end func()) {
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
	if !spool.Terminal(os.Stdin) {
		signals = append(signals, syscall.SIGINT, syscall.SIGQUIT)
	} else {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGQUIT)
	}
	c := make(chan os.Signal, 16)
	signal.Notify(c, signals...)
	env.Disregard()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-c:
				_ = child.Signal(sig)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
	}
}

// save captures the program, which stands before sig, and lets it die.
func (u *under) save(traced *ptrace.Child, tid int, sig syscall.Signal, info []byte) (path string, err error) {
	target, err := capture.OpenDying(traced.PID, func() (*ptrace.Session, error) { return traced.Adopt(tid, sig) })
	if err != nil {
		return "", err
	}
	defer target.Close()
	path = filepath.Join(u.spool, target.Name(time.Now()))
	about := capture.About{Build: cli.Version(), Why: "crash", More: crash.Describe(int(sig), info, os.Getuid(), os.Getgid())}
	// Whatever ends us kills the program, or is passed on to it.
	r, err := target.Save(context.Background(), path, u.opt, about)
	if err != nil {
		return "", err
	}
	kv := []any{"pid", traced.PID, "signal", crash.SignalName(int(sig)), "core", filepath.Base(path), "bytes", r.Bytes, "down_ms", r.Pause.Milliseconds()}
	if r.Partial != "" {
		u.env.Log.Warn(target.Comm+": crashed: core is partial: "+r.Partial, kv...)
	} else {
		u.env.Log.Info(target.Comm+": crashed", kv...)
	}
	return path, nil
}

// afterwards leaves to a process of its own what whoever waits for the program
// need not wait for.
func (u *under) afterwards(core string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := []string{os.Args[0], finisher, core, strconv.Itoa(u.limits.Keep), strconv.FormatInt(u.limits.KeepFree, 10), strconv.FormatBool(u.gzip)}
	p, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Files: []*os.File{null, null, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	if os.Getpid() == 1 {
		// With us everything else in the namespace ends.
		_, err = p.Wait()
		return err
	}
	return p.Release()
}

// finish is the finisher: stacks, compression, and what has to go for it.
func finish(env *cli.Env, args []string) int {
	if len(args) != 4 {
		return env.Usage("%s: corecap run starts it", finisher)
	}
	core := args[0]
	keep, err1 := strconv.Atoi(args[1])
	free, err2 := strconv.ParseInt(args[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return env.Usage("%s: %v", finisher, err)
	}
	runtime.LockOSThread()
	spool.Background()
	err := writeStacks(core)
	if args[3] == "true" {
		err = errors.Join(err, spool.Compress(core))
	}
	dir, derr := rundir.Open(filepath.Dir(core))
	if derr == nil {
		_, derr = spool.Prune(dir, spool.Limits{Keep: keep, KeepFree: free})
		dir.Close()
	}
	if err = errors.Join(err, derr); err != nil {
		return env.Fail(err)
	}
	return cli.ExitOK
}

func writeStacks(core string) error {
	f, err := os.Open(core)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := stacks.FromCore(f, core, stacks.DefaultLimit)
	if err != nil {
		return err
	}
	out, err := spool.Create(core[:len(core)-len(".core")] + ".stacks")
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := p.Text(out); err != nil {
		return err
	}
	return out.CommitBeside(core)
}

// writePID replaces the file as a whole.
func writePID(path string, pid int) error {
	name, dir := filepath.Base(path), filepath.Dir(path)
	d, err := rundir.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Write(name, []byte(strconv.Itoa(pid)+"\n"), 0o644)
}
