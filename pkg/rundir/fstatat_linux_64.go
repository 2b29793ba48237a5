//go:build amd64 || arm64 || loong64 || ppc64 || ppc64le || riscv64 || s390x

package rundir

import "golang.org/x/sys/unix"

// sysFstatat is the call that fills a unix.Stat_t. The file names the machines
// for which that is so: on mips64 the kernel's struct is another one.
const sysFstatat = unix.SYS_NEWFSTATAT
