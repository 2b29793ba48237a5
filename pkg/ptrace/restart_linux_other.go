//go:build !amd64

package ptrace

// restartWait does nothing here: the registers that tell which call was
// interrupted are known for amd64 only.
func (t *Thread) restartWait() {}
