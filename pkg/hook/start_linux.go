package hook

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// self is this program, whatever has become of its file meanwhile.
const self = "/proc/self/exe"

// stage is the name under which this program is started to become a hook. fork in Go
// is a vfork: until the child's exec is through, the processor that does it is not
// given to anybody else, and with a file on a disk that hangs the whole program
// would stand still. So what is executed in that moment is the program itself,
// which is there already; the child then executes the hook, and hangs alone.
const stage = "vigil-hook"

// report is the descriptor on which the child says why it did not become the hook.
const report = 3

func init() {
	if len(os.Args) == 2 && os.Args[0] == stage {
		unix.CloseOnExec(report)
		err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
		errno, _ := err.(syscall.Errno)
		_, _ = unix.Write(report, binary.NativeEndian.AppendUint32(nil, uint32(errno)))
		unix.Exit(127)
	}
}

// begin starts a program as the leader of a process group. Its end comes over the
// channel.
func begin(program string, env []string, output *os.File) (group int, ended <-chan Answer, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer w.Close()
	p, err := os.StartProcess(self, []string{stage, program}, &os.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []*os.File{null, output, output, w},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		r.Close()
		return 0, nil, err
	}
	answer := make(chan Answer, 1)
	go func() { answer <- finish(p, r) }()
	return p.Pid, answer, nil
}

// finish waits for the end of a run, and tells one that never became the hook.
func finish(p *os.Process, r *os.File) Answer {
	var b [4]byte
	n, _ := r.Read(b[:]) // nothing: it did, or was ended before
	_ = r.Close()
	st, err := p.Wait()
	switch {
	case n == len(b):
		return Answer{Err: fmt.Errorf("%w: %w", ErrStart, syscall.Errno(binary.NativeEndian.Uint32(b[:])))}
	case err != nil:
		return Answer{Err: err}
	case st.ExitCode() < 0:
		return Answer{Err: errors.New(st.String())}
	}
	return Answer{Status: st.ExitCode()}
}
