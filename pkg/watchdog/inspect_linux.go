package watchdog

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
)

// kinds names what may lie under a path that should be a device.
var kinds = map[uint32]string{
	unix.S_IFREG: "a regular file", unix.S_IFDIR: "a directory", unix.S_IFIFO: "a FIFO",
	unix.S_IFSOCK: "a socket", unix.S_IFBLK: "a block device",
}

// nodeNumber gives the number of the character device node. Opening a FIFO
// would block for ever, and opening a file proves nothing: both are refused
// here, by stat(2) alone.
func nodeNumber(node string) (number, error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		if link, lerr := readLink(node); lerr == nil && errors.Is(err, fs.ErrNotExist) {
			return number{}, fmt.Errorf("%s: dangling symbolic link to %s: %w", node, link, err)
		}
		return number{}, fmt.Errorf("%s: stat: %w", node, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return number{}, cli.Usagef("%s: is %s, want a watchdog device", node, kinds[st.Mode&unix.S_IFMT])
	}
	return number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}, nil
}

// checkAccess asks whether the device could be opened, without opening it.
func checkAccess(node string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, node, unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%s: open for writing: %w", node, err)
	}
	return nil
}

// holder is a process that has the device open.
type holder struct {
	pid  int
	comm string
}

func (h holder) String() string {
	if h.comm == "" {
		return "pid " + strconv.Itoa(h.pid)
	}
	return "pid " + strconv.Itoa(h.pid) + " (" + h.comm + ")"
}

func holderNames(all []holder) string {
	if len(all) == 0 {
		return "a process that cannot be seen"
	}
	names := make([]string, len(all))
	for i, h := range all {
		names[i] = h.String()
	}
	return strings.Join(names, ", ")
}

// holders finds in the proc file system who has the device open. Without root
// only one's own processes can be seen.
func (i *Info) holders(proc string) []holder {
	numbers := i.numbers()
	var found []holder
	for _, name := range list(proc) {
		pid, err := strconv.Atoi(name)
		if err != nil || !holds(proc+"/"+name+"/fd", numbers) {
			continue
		}
		comm, _ := readSmall(proc + "/" + name + "/comm") // it may just have gone
		found = append(found, holder{pid, comm})
	}
	return found
}

func holds(dir string, numbers []number) bool {
	for _, name := range list(dir) {
		// The target's text first: a stat of a file on a server that is gone
		// would hang.
		link := dir + "/" + name
		if target, err := readLink(link); err != nil || !strings.HasPrefix(target, "/dev/") && !strings.Contains(target, "watchdog") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			continue
		}
		if slices.Contains(numbers, number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}) {
			return true
		}
	}
	return false
}

// What follows does what package os does, without the types and time zones that
// come with its FileInfo: they would be a tenth of the program.

func exists(name string) bool {
	var st unix.Stat_t
	return unix.Stat(name, &st) == nil
}

func readLink(name string) (string, error) {
	b := make([]byte, 4096)
	n, err := unix.Readlink(name, b)
	return string(b[:max(n, 0)]), err
}

// readSmall reads a file of the kernel's, of which one line is expected.
func readSmall(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, 512)
	n, err := unix.Read(fd, b)
	return strings.TrimSpace(string(b[:max(n, 0)])), err
}

// list gives the names in a directory; none where it cannot be read.
func list(dir string) (names []string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	for b := make([]byte, 16<<10); ; {
		n, err := unix.ReadDirent(fd, b)
		if err != nil || n == 0 {
			return names
		}
		_, _, names = unix.ParseDirent(b[:n], -1, names)
	}
}
