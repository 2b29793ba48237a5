//go:build 386 || arm || mips || mipsle

package rundir

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_FSTATAT64
