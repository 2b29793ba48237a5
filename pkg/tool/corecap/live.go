package corecap

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/capture"
	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
)

// live is how a live process is to be captured.
type live struct {
	env   *cli.Env
	out   string
	spool string
	holds string
	id    string
	gzip  bool
	force bool
	opt   capture.Options
	about capture.About
}

func captureLive(env *cli.Env, args []string) int {
	l := live{env: env, about: capture.About{Build: cli.Version()}}
	maxSize, keepFree := spool.Size(0), spool.Size(64<<20)
	flags := env.Flags()
	flags.StringVar(&l.out, "o", "", "write the core to `FILE`, or to stdout for - (default COMM_PID_TIME.core in the current directory)")
	flags.StringVar(&l.spool, "spool", "", "write the core into the trusted directory `DIR`, as COMM_PID_TIME.core")
	flags.StringVar(&l.opt.Mode, "mode", capture.Auto, "`WORD`: "+strings.Join(capture.Modes(), ", "))
	flags.Func("max-size", "keep at most `SIZE` of memory in the core, as 512M or 4G (default no limit)", maxSize.Set)
	flags.Func("keep-free", "leave `SIZE` of the file system free (default "+keepFree.String()+")", keepFree.Set)
	flags.BoolVar(&l.gzip, "gzip", false, "compress the core when the process runs again")
	flags.BoolVar(&l.force, "force", false, "also capture a process that is not dumpable")
	flags.StringVar(&l.about.Why, "why", "", "put `TEXT` into the description")
	flags.StringVar(&l.holds, "hold", "", "look into the directory `DIR` for a hold of -id")
	flags.StringVar(&l.id, "id", "", "`ID` of the service, for -hold")
	if code, done := env.Parse(flags, args); done {
		return code
	}
	if flags.NArg() != 1 {
		return env.Usage("want one PID, have %d", flags.NArg())
	}
	pid, err := parsePID(flags.Arg(0))
	if err == nil {
		err = l.check()
	}
	if err != nil {
		return env.Usage("%v", err)
	}
	l.opt.MaxSize, l.opt.KeepFree = int64(maxSize), int64(keepFree)
	undisturbed()
	return l.run(pid)
}

// undisturbed sees to it that an output that may not grow is an error, not a
// death with the target in hand (setrlimit(2), RLIMIT_FSIZE), and that a Ctrl-Z
// does not leave the target stopped as well.
func undisturbed() {
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
}

// check finds what contradicts itself.
func (l *live) check() error {
	switch {
	case !slices.Contains(capture.Modes(), l.opt.Mode):
		return fmt.Errorf("mode %q: want %s", l.opt.Mode, strings.Join(capture.Modes(), ", "))
	case l.out != "" && l.spool != "":
		return errors.New("-o and -spool exclude each other")
	case l.out == "-" && l.gzip:
		return errors.New("-gzip is for files: pipe stdout through gzip(1)")
	case l.out == "-" && spool.Terminal(os.Stdout):
		return errors.New("stdout is a terminal: a core does not go there")
	case (l.holds == "") != (l.id == ""):
		return errors.New("-hold and -id go together")
	}
	return nil
}

func (l *live) run(pid int) int {
	if err := l.findHold(); err != nil {
		return l.env.Fail(err)
	}
	target, err := capture.Open(pid, l.force)
	if err != nil {
		return l.env.Fail(offer(err))
	}
	defer target.Close()
	if f, ok := l.env.Stderr.(*os.File); ok && spool.Terminal(f) {
		p := &progress{out: f, begun: time.Now()}
		l.opt.Progress = p.show
		defer p.clear()
	}
	path, report, err := l.save(target)
	if err == nil && l.gzip {
		err = spool.Compress(path)
	}
	if p := l.opt.Progress; p != nil {
		p(0, 0)
	}
	if err != nil {
		return l.env.Fail(offer(err))
	}
	return l.say(path, report)
}

func (l *live) save(target *capture.Target) (path string, r *capture.Report, err error) {
	ctx := l.env.Context()
	if l.out == "-" {
		r, err = target.Stream(ctx, l.env.Stdout, l.opt)
		return "stdout", r, err
	}
	if l.out != "" {
		r, err = target.Save(ctx, l.out, l.opt, l.about)
		return l.out, r, err
	}
	if l.spool != "" {
		dir, err := rundir.Open(l.spool)
		if err != nil {
			return "", nil, err
		}
		defer dir.Close()
	}
	// Two captures of a process in one second are one too many for its name.
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		path = filepath.Join(l.spool, target.Name(time.Now()))
		r, err = target.Save(ctx, path, l.opt, l.about)
		if !errors.Is(err, fs.ErrExist) || time.Now().After(end) {
			return path, r, err
		}
	}
}

// findHold notes the hold that the service is under.
func (l *live) findHold() error {
	if l.holds == "" {
		return nil
	}
	const longest = time.Hour
	r, err := hold.NewReader(l.holds, "", longest)
	if err != nil {
		return err
	}
	defer r.Close()
	now := boottime.Now()
	if _, err := r.Refresh(now); err != nil {
		l.env.Log.Warn(err.Error())
	}
	if lease, ok := r.Active(l.id, now); ok {
		l.about.Held = &capture.Hold{ID: lease.ID, By: lease.By, Reason: lease.Reason}
	}
	return nil
}

// say reports what happened: first what is missing, then the result.
func (l *live) say(path string, r *capture.Report) int {
	log := l.env.Log
	for _, o := range r.LeftOut {
		log.Warn("a thread did not stop and has no registers in the core", "tid", o.TID, "state", string(rune(o.State)))
	}
	if r.Unread > 0 {
		log.Warn("some memory could not be read and is zero in the core", "bytes", r.Unread)
	}
	if r.Left != "" {
		log.Warn("something stays in the target until the next capture", "reason", r.Left)
	}
	if r.Partial != "" {
		log.Warn("the core is partial", "reason", r.Partial)
	}
	fields := []any{"threads", r.Threads, "bytes", r.Bytes, "size", r.Size, "mode", r.Mode, "pause_us", r.Pause.Microseconds()}
	if r.Reason != "" {
		fields = append(fields, "reason", r.Reason)
	}
	log.Info(filepath.Base(path)+" captured", fields...)
	if r.Partial != "" && r.Mode != "mini" {
		return exitPartial
	}
	return cli.ExitOK
}
