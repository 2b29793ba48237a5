package capture

import (
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// followMin is the memory in small pages from which on it is worth the effort to
// follow what a process writes: below it, a fork stops it for no longer.
const followMin = 48 << 20

// inMiB rounds up: people take 0 MiB for a mistake.
func inMiB[T int64 | uint64](n T) T { return (n + 1<<20 - 1) >> 20 }

// passOver says why the target is not even tried to be followed: its core would be
// too large or, for auto, the fork is as good, and simpler.
func (j *job) passOver() error {
	maps, _, err := j.before()
	if err != nil {
		return err
	}
	l := j.load(maps)
	if err := j.fits(int64(l.total())); err != nil || j.opt.Mode == precopyMode {
		return err
	}
	mine, forked := precopyPause(l.small+l.huge, fewPages, 1), l.forkPause()
	if l.small < followMin || mine > forked {
		return fmt.Errorf("%d MiB in small and %d MiB in huge pages: a fork stops it for %v: %w", inMiB(l.small), inMiB(l.huge), forked.Round(100*time.Microsecond), errUnfit)
	}
	return nil
}

// fits says why a core that cannot leave anything out must not have that much data.
func (j *job) fits(data int64) error {
	if j.opt.MaxSize > 0 && data > j.opt.MaxSize {
		return fmt.Errorf("precopy: %d MiB are more than the core may have: %w", inMiB(data), errUnfit)
	}
	return nil
}

// roomToFork says why the target must not fork although the kernel would let it:
// what is missing then is missing to the target.
func (j *job) roomToFork(maps []procfs.Mapping) error {
	l := j.load(maps)
	// Page tables, and copies of what is written while the fork lives.
	need := l.small>>9 + (l.small+l.huge)>>3
	if room, limited := procfs.MemoryRoom(j.living()); limited && room < need {
		return fmt.Errorf("fork: the copy may take %d MiB, its control group has %d MiB left: %w", need>>20, room>>20, errUnfit)
	}
	if available := procfs.MemoryAvailable(); available < need {
		return fmt.Errorf("fork: the copy may take %d MiB, the machine has %d MiB left: %w", need>>20, available>>20, errUnfit)
	}
	if procfs.StrictOvercommit() {
		return fmt.Errorf("fork: vm.overcommit_memory is 2: %w", errUnfit)
	}
	return nil
}
