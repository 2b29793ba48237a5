package capture

import (
	"strconv"
	"strings"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// maxDescriptors bounds how many descriptors are looked at; a process that has
// more of them is not followed.
const maxDescriptors = 1 << 16

// behind are descriptors through which memory of a process is written that its
// page tables know nothing of: by a device, by the kernel for io_uring(7), by a
// guest. Such writes are not seen by a write protection.
var behind = []string{
	"anon_inode:[io_uring]", "anon_inode:kvm", "/dev/vfio", "/dev/infiniband", "/dev/vhost", "/dev/kvm", "/dev/dri", "/dev/nvidia", "/dev/kfd",
	"anon_inode:[infiniband", "anon_inode:[uverbs", "anon_inode:[vfio", "/dev/video", "/dev/accel",
}

// behindSocket is what a socket of XDP is called: packets are written into memory
// that it has pinned, and that VmPin does not count.
const behindSocket = "XDP"

// followable says why the writes of the target cannot be followed: an error that
// wraps errUnfit. For a page that was written behind the page tables the image
// would be wrong, which is worse than a longer pause.
func (j *job) followable(maps []procfs.Mapping) error {
	for _, m := range maps {
		if m.Has("um") || m.Has("uw") || m.Has("ui") {
			return unfit("it follows its memory by a userfaultfd of its own")
		}
		if (m.Has("pf") || m.Has("io")) && !strings.HasPrefix(m.Name, "[vvar") {
			return unfit("it maps a device at %#x", m.Start)
		}
	}
	return j.unseen()
}

func unfit(format string, a ...any) error {
	return fmt.Errorf("precopy: "+format+": %w", append(a, errUnfit)...)
}

// unseen says what may write to the memory of the target now without being seen.
// It is asked before the first round and after the stop, for the target goes on to
// open things meanwhile.
func (j *job) unseen() error {
	id := j.living()
	status, err := procfs.ReadStatus(id)
	if err != nil {
		return err
	}
	if status.VMPin > 0 {
		return unfit("%d kB are pinned for a device", status.VMPin>>10)
	}
	list, cut, err := procfs.Descriptors(id, maxDescriptors)
	if err != nil {
		return j.explain(err)
	}
	if cut {
		return unfit("more than %d descriptors", maxDescriptors)
	}
	for _, fd := range list {
		d, err := procfs.Descriptor(id, fd)
		if err != nil {
			continue // closed meanwhile
		}
		if strings.Contains(d, "[userfaultfd]") {
			if j.closeLeft(id, fd) {
				continue
			}
			return unfit("it has a userfaultfd of its own")
		}
		for _, b := range behind {
			if strings.HasPrefix(d, b) {
				return unfit("%s can write to its memory behind the page tables", d)
			}
		}
		if strings.HasPrefix(d, "socket:") && procfs.SocketProtocol(id, fd) == behindSocket {
			return unfit("a socket of XDP can write to its memory behind the page tables")
		}
		if strings.HasPrefix(d, "/") && direct(id, fd) {
			return unfit("%s is open for direct I/O, which can write to its memory behind the page tables", d)
		}
	}
	return nil
}

// direct says whether a descriptor has O_DIRECT.
func direct(pid, fd int) bool {
	flags, err := strconv.ParseUint(procfs.DescriptorInfo(pid, fd, "flags"), 8, 64)
	return err == nil && flags&directFlag != 0
}

// forkable says why the target cannot be made to fork because of what its own
// userfaultfd does: if that wants to be told of a fork, it is asked before the
// fork ends, and the thread that would answer stands.
func (j *job) forkable(maps []procfs.Mapping) error {
	own := false
	for _, m := range maps {
		own = own || m.Has("um") || m.Has("uw") || m.Has("ui")
	}
	if !own {
		return nil
	}
	list, _, err := procfs.Descriptors(j.living(), maxDescriptors)
	if err != nil {
		return j.explain(err)
	}
	seen := false
	for _, fd := range list {
		if d, err := procfs.Descriptor(j.living(), fd); err != nil || !strings.Contains(d, "[userfaultfd]") {
			continue
		}
		seen = true
		// API: version, in use, all that there are
		f := strings.Split(procfs.DescriptorInfo(j.living(), fd, "API"), ":")
		if len(f) != 3 {
			return fmt.Errorf("fork: a userfaultfd of unknown features: %w", errUnfit)
		}
		if features, err := strconv.ParseUint(f[1], 16, 64); err != nil || features&eventFork != 0 {
			return fmt.Errorf("fork: its userfaultfd wants to be told of forks: %w", errUnfit)
		}
	}
	if !seen {
		return fmt.Errorf("fork: somebody else serves its page faults: %w", errUnfit)
	}
	return nil
}

const eventFork = 1 << 1 // UFFD_FEATURE_EVENT_FORK
