package crash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"vigil/pkg/fence"
	"vigil/pkg/fmt"
	"vigil/pkg/spool"
)

// Unwinder is the subcommand that writes the stacks of the core on its standard
// input to its standard output; the handler starts it. Root gives it the uid and
// the gid to take on: it has a core open which others of that uid, of nobody above
// all, must not reach through it.
const Unwinder = "unwind-fenced"

// nobody has nothing: whom a core is read as whose own user must not see it.
const nobody = 65534

// unwindLimit is how long the stacks of one core may take: for a disk that does not
// answer. What there is to do is bounded by FenceLimits; it is done when nobody else
// wants the processors, and they may be wanted for long.
const unwindLimit = 15 * time.Minute

// FenceLimits are those of the Unwinder.
var FenceLimits = fence.Limits{CPU: 60, Memory: 1 << 30, Written: 16 << 20}

// Unwind writes the stacks of a capture that Save has made into its file
// BASE.stacks. program is this program. It runs as the user of the process that
// crashed, fenced in: what that user's files can do to it, it can do to that
// user.
func (h *Handler) Unwind(ctx context.Context, program string, e Event, s *Saved) error {
	if s.Counted || s.Mode == noCore {
		return nil
	}
	path := filepath.Join(h.Spool, s.Base+".core")
	core, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s.core: %w", s.Base, cause0(err))
	}
	defer core.Close()
	out, err := spool.Create(filepath.Join(h.Spool, s.Base+".stacks"))
	if err != nil {
		return err
	}
	defer out.Discard()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// Not os/exec, which weighs 30 kB for what it does beyond this.
	attr := os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{core, out.File, null},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	argv := []string{"corecap", Unwinder}
	if os.Geteuid() == 0 {
		uid, gid := e.UID, e.GID
		if s.Private {
			uid, gid = nobody, nobody
		}
		argv = append(argv, strconv.Itoa(uid), strconv.Itoa(gid))
	}
	if err := runLimited(ctx, program, argv, &attr); err != nil {
		return fmt.Errorf("%s.core: stacks: %w", s.Base, err)
	}
	if os.Geteuid() == 0 && !s.Private {
		if err := out.Chown(e.UID, e.GID); err != nil {
			return err
		}
	}
	// A newer crash may have taken its place.
	return out.CommitBeside(path)
}

// runLimited runs the Unwinder for its time at most.
func runLimited(ctx context.Context, program string, argv []string, attr *os.ProcAttr) error {
	ctx, cancel := context.WithTimeout(ctx, unwindLimit)
	defer cancel()
	p, err := os.StartProcess(program, argv, attr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = p.Kill() })()
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return err
}
