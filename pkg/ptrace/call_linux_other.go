//go:build !amd64

package ptrace

var callInstruction, callReturn, handlerReturn []byte

func (t *Thread) fitness() int { return 0 }

func (t *Thread) call(Site, uint64, ...uint64) (ret int64, child int, err error) {
	return 0, 0, ErrCall
}

// Numbers of calls; they are never made here.
const (
	sysClone       = 0
	sysWait4       = 0
	sysClose       = 0
	sysUserfaultfd = 0
	sysCloseRange  = 0
)
