package cli

import (
	"strconv"

	"golang.org/x/sys/unix"

	"vigil/pkg/flag"
	"vigil/pkg/fmt"
)

// ReadyFlag adds -ready-fd N: a newline is written there once the command
// serves (the readiness convention of s6). The descriptor must be open and is
// marked close-on-exec at once, so that no hook keeps it open.
func (e *Env) ReadyFlag(fs *flag.FlagSet) *Ready {
	r := &Ready{fd: -1}
	fs.Func("ready-fd", "write a newline to descriptor `N` when serving", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("want a descriptor number from 1")
		}
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
		if err != nil {
			return fmt.Errorf("descriptor is not open")
		}
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return fmt.Errorf("descriptor is not open for writing")
		}
		unix.CloseOnExec(n)
		r.fd = n
		return nil
	})
	return r
}
