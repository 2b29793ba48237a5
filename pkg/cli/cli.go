// Package cli is the one voice of the vigil commands: how they are started and
// ended, what their usage looks like, how they speak on stderr and with which
// code they leave. Standard output belongs to data, standard error to people.
//
// Only Main ends the process; everything else returns.
package cli

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"vigil/pkg/flag"
	"vigil/pkg/fmt"
)

// Exit codes shared by all commands. 2 and 3 belong to the command that lists
// them in its Exits table.
const (
	ExitOK     = 0   // done, or yes
	ExitNo     = 1   // the asked-for negative answer
	ExitUsage  = 100 // wrong usage or configuration: a restart would not help
	ExitSystem = 111 // the system refused: permission, I/O, device, nobody serves
)

// version is set by the linker (scripts/build).
var version = "devel"

// Version names the build: a git description, or "devel" outside scripts/build.
func Version() string { return version }

// Exit is one row of a command's table of exit codes.
type Exit struct {
	Code    int
	Meaning string
}

// Tool describes a command. Synopsis is the usage line without "usage: ",
// Summary one sentence; Exits lists every code the command leaves with.
type Tool struct {
	Name     string
	Synopsis string
	Summary  string
	Exits    []Exit
	Starts   bool // starts somebody's program, which would inherit the size of its pages
}

// Env is what a command may touch of the process around it.
type Env struct {
	Tool   Tool
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Log    *Log
	Done   <-chan struct{} // closed at the first SIGTERM or SIGINT; a second one kills

	version bool           // was asked for
	end     chan os.Signal // what closes Done
}

// Main runs a command and ends the process with its code. Writing to a closed
// pipe gives EPIPE instead of a signal: a daemon must outlive its log reader.
func Main(t Tool, run func(env *Env, args []string) int) {
	// Go collects at 4 MB of garbage at the earliest, which is more than these
	// programs shall occupy; a quarter of that costs next to nothing here.
	debug.SetGCPercent(25)
	if !t.Starts {
		smallPages()
	}
	// Notify, not Ignore: an ignored signal would be inherited by every hook.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	done := make(chan struct{})
	go func() {
		<-end
		signal.Reset(syscall.SIGTERM, os.Interrupt)
		close(done)
	}()
	os.Exit(run(&Env{
		Tool:   t,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Getenv: os.Getenv,
		Log:    NewLog(t.Name, os.Stderr),
		Done:   done,
		end:    end,
	}, os.Args[1:]))
}

// choices are the tools of a program of several.
var choices map[string]func()

// Choose is Main for a program of several tools: it is the one that it is called
// as, by a link of that name, or that its first argument names. Each of them sees
// the arguments that it would see alone.
func Choose(t Tool, tools map[string]func()) {
	choices = tools
	if begin := tools[filepath.Base(os.Args[0])]; begin != nil {
		begin()
	}
	if len(os.Args) > 1 && tools[os.Args[1]] != nil {
		os.Args = os.Args[1:] // its name first, for when it starts its file again
		tools[os.Args[0]]()
	}
	names := slices.Sorted(maps.Keys(tools))
	Main(t, func(env *Env, args []string) int {
		fs := env.Flags()
		list := fs.Bool("list", false, "print the names of the tools, one a line")
		if code, done := env.Parse(fs, args); done {
			return code
		}
		if *list {
			return env.Print([]byte(strings.Join(names, "\n") + "\n"))
		}
		return env.Usage("want a tool: %s", strings.Join(names, ", "))
	})
}

// Within says that this program is the named tool among others: who starts its
// file has to name the tool.
func Within(tool string) bool { return choices[tool] != nil }

// Disregard is for a command that has its own use for SIGTERM and SIGINT, and has
// asked for them: none closes Done any more, and a second one is as the first.
func (e *Env) Disregard() {
	if e.end != nil {
		signal.Stop(e.end)
	}
}

// Context is Done for what wants a context. The tools under 2 MB do without:
// the types behind a context and a time.Timer weigh 150 kB.
func (e *Env) Context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-e.Done
		cancel()
	}()
	return ctx
}

// Command gives the environment of a subcommand: its own usage, the same voice.
func (e *Env) Command(t Tool) *Env {
	sub := *e
	sub.Tool = t
	return &sub
}

// Flags gives a flag set that already knows the flags all commands share.
func (e *Env) Flags() *flag.FlagSet {
	fs := new(flag.FlagSet)
	fs.BoolVar(&e.version, "version", false, "print the version and leave")
	fs.Func("log", "`format` of messages on stderr: text or json (default text)", e.Log.setFormat)
	fs.BoolFunc("q", "say warnings and errors only", func(string) error { e.Log.level = levelWarning; return nil })
	fs.BoolFunc("v", "say more", func(string) error { e.Log.level = levelDebug; return nil })
	return fs
}

// Parse parses args. done means that the command has nothing left to do and
// leaves with code: after -h, -version or a bad flag.
func (e *Env) Parse(fs *flag.FlagSet, args []string) (code int, done bool) {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return e.Print([]byte(e.help(fs))), true
	case err != nil:
		return e.Usage("%v", err), true
	}
	if e.version {
		return e.Print([]byte(e.Log.prog + " " + version + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n")), true
	}
	return ExitOK, false
}

func (e *Env) help(fs *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s\n%s\n\nflags:\n", e.Tool.Synopsis, e.Tool.Summary)
	b.WriteString(fs.Defaults())
	b.WriteString("\nexit codes:\n")
	for _, x := range e.Tool.Exits {
		fmt.Fprintf(&b, "  %-4d %s\n", x.Code, x.Meaning)
	}
	return b.String()
}

// A UsageError is wrong usage or configuration: the command leaves with
// ExitUsage, and its supervisor should not start it again unchanged.
type UsageError struct{ text string }

func (u *UsageError) Error() string { return u.text }

// Usagef makes a *UsageError.
func Usagef(format string, a ...any) error {
	return &UsageError{fmt.Sprintf(format, a...)}
}

// Usage says what is wrong with the call, shows the usage line, and gives
// ExitUsage.
func (e *Env) Usage(format string, a ...any) int {
	e.Log.Error(fmt.Sprintf(format, a...))
	e.Log.Error("usage: " + e.Tool.Synopsis)
	return ExitUsage
}

// Fail says err and gives the code that goes with it.
func (e *Env) Fail(err error) int {
	e.Log.Error(err.Error())
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	return ExitSystem
}

// Print writes data to standard output. A reader that went away is an I/O
// error like any other: it gives ExitSystem.
func (e *Env) Print(b []byte) int {
	if _, err := e.Stdout.Write(b); err != nil {
		return e.Fail(fmt.Errorf("stdout: %w", unwrapPath(err)))
	}
	return ExitOK
}

// unwrapPath drops the "write /dev/stdout" of an *fs.PathError.
func unwrapPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
