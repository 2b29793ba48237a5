package cli

import "golang.org/x/sys/unix"

// smallPages keeps the kernel from giving this process pages of 2 MB, of which it
// would use some kB: where transparent_hugepage/enabled is "always", khugepaged
// does that within minutes, and a sender of 3 MB has 7 (Linux 6.1). It may be
// refused by a filter; then it is as it was.
func smallPages() { _ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) }
