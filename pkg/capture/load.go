package capture

import (
	"time"

	"vigil/pkg/procfs"
)

// load is how much memory a process has, as far as it decides about a mode.
type load struct {
	small  uint64 // its own, in pages of the least size
	huge   uint64 // its own, in huge pages
	shared uint64
}

// load counts what belongs into the core.
func (j *job) load(maps []procfs.Mapping) (l load) {
	for _, m := range maps {
		switch {
		case m.Shared():
			l.shared += m.RSS
		default:
			l.huge += m.THP
			l.small += m.Anonymous + m.Swap - min(m.THP, m.Anonymous)
		}
	}
	return l
}

func (l load) forkPause() time.Duration { return forkPause(l.small, l.huge) }

func (l load) total() uint64 { return l.small + l.huge + l.shared }
