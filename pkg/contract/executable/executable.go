// Package executable writes programs that a test is about to start.
//
// The package is for tests only; no program imports it.
package executable

import (
	"os"
	"syscall"
)

// Write does what os.WriteFile does, for a file that is executed at once. A
// child that is forked while it is open for writing would keep it so until its own
// exec, and meanwhile execve(2) of it fails with ETXTBSY: nobody here forks
// meanwhile.
func Write(name string, text []byte, perm os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(name, text, perm)
}
