package procfs

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryRoom is how many bytes the memory control group of pid, or one above it,
// may still take, page cache that can be dropped included; limited is false
// where there is no limit or it cannot be seen.
func MemoryRoom(pid int) (room uint64, limited bool) {
	b, err := readWhole(pid, "cgroup", maxSmall)
	if err != nil {
		return 0, false
	}
	room = math.MaxUint64
	for line := range strings.Lines(string(b)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case id == "0":
			for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				room = min(room, groupRoom(root, group, "memory.max", "memory.current", "inactive_file"))
			}
		case strings.Contains(","+controllers+",", ",memory,"):
			room = min(room, groupRoom("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
		}
	}
	// Version 1 writes no limit as the largest multiple of a page.
	return room, room < 1<<60
}

// groupRoom is the least room of a group and those above it.
func groupRoom(root, group, limit, usage, droppable string) uint64 {
	room := uint64(math.MaxUint64)
	for dir := filepath.Join(root, group); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		most, ok1 := fileNumber(filepath.Join(dir, limit))
		used, ok2 := fileNumber(filepath.Join(dir, usage))
		if ok1 && ok2 {
			b, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
			used -= min(used, keyedNumber(b, droppable))
			room = min(room, most-min(most, used))
		}
	}
	return room
}

func fileNumber(name string) (uint64, bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64) // "max" is none
	return n, err == nil
}

// keyedNumber finds "key number" or "key: number kB" in a file of such lines.
func keyedNumber(b []byte, key string) uint64 {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) > 1 && string(bytes.TrimSuffix(f[0], []byte{':'})) == key {
			n, _ := strconv.ParseUint(string(f[1]), 10, 64)
			return n
		}
	}
	return 0
}

// MemoryAvailable is how many bytes programs can still get without swapping.
func MemoryAvailable() uint64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return math.MaxUint64
	}
	return keyedNumber(b, "MemAvailable") << 10
}

// StrictOvercommit says whether the kernel counts all memory that might be
// written, and refuses what exceeds it (vm.overcommit_memory = 2).
func StrictOvercommit() bool {
	n, ok := fileNumber("/proc/sys/vm/overcommit_memory")
	return ok && n == 2
}
