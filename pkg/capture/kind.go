package capture

import "vigil/pkg/procfs"

// kind is how a mapping is followed.
type kind int

const (
	ignored kind = iota
	tracked      // private memory of no file: its writes are followed
	filed        // a private mapping of a file: what is written is copied in the stop
	small        // the header of a file, the vdso: copied in the stop
	atStop       // can only be copied in the stop
	late         // shared: never of the moment, copied after it
)

// kindOf decides by what keep decided. Pages of a private mapping of a file
// cannot be followed: when the process gives them up (MADV_DONTNEED), the kernel
// keeps the mark of the protection, and they would look unwritten.
func kindOf(m procfs.Mapping, e extent) kind {
	switch {
	case e == nothing:
		return ignored
	case m.Shared():
		return late
	case m.Has("ht"):
		return atStop
	case e == populated:
		return tracked
	case e == everything && m.Inode != 0:
		return filed
	}
	return small
}
