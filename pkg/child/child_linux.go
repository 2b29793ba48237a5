// Package child runs a program for somebody who waits for what it prints.
//
// The program gets nothing that was inherited: a fixed PATH and the variables
// that are given, /dev/null to read, no descriptor but 0 to 2, / to work in, a
// process group of its own. Whatever it does, Run ends soon after its time, and
// nothing of the group is left then.
package child

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Path is the search path that a program gets.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const (
	killAfter = 2 * time.Second // between TERM and KILL
	// linger is how long what was printed may be on its way when the program
	// has ended; one of its children may keep the pipe open for ever.
	linger  = 100 * time.Millisecond
	errMost = 4 << 10 // bytes of standard error that are kept
)

// Errors to test for with errors.Is, besides those of the system when it cannot be
// started.
var (
	ErrTime   = errors.New("stopped after its time")
	ErrSignal = errors.New("ended by signal")
)

// Config says what to run.
type Config struct {
	Argv  []string      // the first is an absolute path
	Env   []string      // variables besides PATH
	Limit time.Duration // until TERM
	Most  int           // bytes of standard output that are kept
}

// Result is what came of it.
type Result struct {
	Status int // that it exited with
	Out    []byte
	Err    []byte // the first bytes of standard error
	Cut    bool   // it printed more than Most
}

// Run runs a program until its end, for its time at most, or until done is
// closed. With an error the Result has what was printed until then.
func Run(done <-chan struct{}, c Config) (Result, error) {
	var res Result
	closeOnExec()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return res, err
	}
	defer null.Close()
	out, err := listen(c.Most)
	if err != nil {
		return res, err
	}
	defer out.r.Close()
	defer out.w.Close()
	bad, err := listen(errMost)
	if err != nil {
		return res, err
	}
	defer bad.r.Close()
	defer bad.w.Close()
	p, err := os.StartProcess(c.Argv[0], c.Argv, &os.ProcAttr{
		Dir:   "/",
		Env:   append([]string{"PATH=" + Path}, c.Env...),
		Files: []*os.File{null, out.w, bad.w},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	out.w.Close()
	bad.w.Close()
	if err != nil {
		return res, fmt.Errorf("%s: %w", c.Argv[0], cause(err))
	}
	ended := make(chan *os.ProcessState, 1)
	go func() {
		state, _ := p.Wait() // of our own child: it cannot be refused
		ended <- state
	}()
	state, err := await(done, c.Limit, p.Pid, ended)
	for _, s := range []*sink{out, bad} {
		_ = s.r.SetReadDeadline(time.Now().Add(linger))
	}
	res.Out, res.Cut = out.kept()
	res.Err, _ = bad.kept()
	_ = unix.Kill(-p.Pid, unix.SIGKILL) // what it left behind
	switch status, _ := state.Sys().(syscall.WaitStatus); {
	case err != nil:
	case status.Signaled():
		err = fmt.Errorf("%w %d", ErrSignal, int(status.Signal()))
	default:
		res.Status = status.ExitStatus()
	}
	return res, err
}

// closeOnExec marks what this process was started with; what Go opens is marked
// already. It needs Linux 5.11; before, that is inherited further.
func closeOnExec() { _ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) }

// await waits for the end, and sees to it.
func await(done <-chan struct{}, limit time.Duration, group int, ended <-chan *os.ProcessState) (*os.ProcessState, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case state := <-ended:
		return state, nil
	case <-done:
	case <-timer.C:
	}
	_ = unix.Kill(-group, unix.SIGTERM)
	timer.Reset(killAfter)
	select {
	case state := <-ended:
		return state, ErrTime
	case <-timer.C:
		_ = unix.Kill(-group, unix.SIGKILL)
	}
	return <-ended, ErrTime
}

// sink takes what comes through a pipe, and keeps the beginning.
type sink struct {
	r, w *os.File
	over sync.WaitGroup
	text []byte
	cut  bool
}

func listen(most int) (*sink, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &sink{r: r, w: w}
	s.over.Add(1)
	go func() {
		defer s.over.Done()
		buf := make([]byte, 16<<10)
		for {
			n, err := r.Read(buf)
			take := min(n, most-len(s.text))
			s.text = append(s.text, buf[:take]...)
			s.cut = s.cut || take < n
			if err != nil {
				return // io.EOF, or the deadline
			}
		}
	}()
	return s, nil
}

func (s *sink) kept() ([]byte, bool) {
	s.over.Wait()
	return s.text, s.cut
}

// cause drops what os says around an errno: it is known.
func cause(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
