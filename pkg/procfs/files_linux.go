package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors gives the open descriptors of pid in no order, at most limit of
// them, and says whether there are more. It needs the rights to trace the
// target, and to search its directory in /proc.
func Descriptors(pid, limit int) (fds []int, more bool, err error) {
	d, err := os.Open(path(pid, "fd"))
	if err != nil {
		return nil, false, wrap(pid, "fd", err)
	}
	defer d.Close()
	var names []string
	for buf := make([]byte, 16<<10); ; {
		n, err := unix.ReadDirent(int(d.Fd()), buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false, wrap(pid, "fd", err)
		}
		if n == 0 {
			return fds, false, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			fd, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if len(fds) >= limit {
				return fds, true, nil
			}
			fds = append(fds, fd)
		}
	}
}

// Descriptor gives what a descriptor of pid is: a path, or a kind with a number
// as "socket:[4711]". One that was closed meanwhile matches fs.ErrNotExist.
func Descriptor(pid, fd int) (string, error) {
	name := "fd/" + strconv.Itoa(fd)
	target, err := os.Readlink(path(pid, name))
	if err != nil {
		return "", wrap(pid, name, err)
	}
	return target, nil
}

// DescriptorInfo gives the value of a key in /proc/PID/fdinfo/FD, such as
// "flags"; "" where there is none.
func DescriptorInfo(pid, fd int, key string) string {
	b, _, err := read(pid, "fdinfo/"+strconv.Itoa(fd), maxSmall)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && k == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// SocketProtocol gives the kernel's name for the protocol of a socket of pid, such as
// TCP or UNIX; "" for what is no socket, or not any more.
func SocketProtocol(pid, fd int) string {
	var b [32]byte
	n, err := unix.Getxattr(path(pid, "fd/"+strconv.Itoa(fd)), "system.sockprotoname", b[:])
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b[:n]), "\x00")
}

// WorkingDirectory gives the path of the directory in which pid works.
func WorkingDirectory(pid int) (string, error) {
	target, err := os.Readlink(path(pid, "cwd"))
	if err != nil {
		return "", wrap(pid, "cwd", err)
	}
	return target, nil
}

// Limit is one row of /proc/PID/limits.
type Limit struct {
	Name       string // as getrlimit(2) has it, in lower case: nofile, core
	Soft, Hard int64  // -1 for unlimited
}

// limitNames are the rows of the kernel (lnames in fs/proc/base.c, Linux 6.12).
var limitNames = map[string]string{
	"Max cpu time": "cpu", "Max file size": "fsize", "Max data size": "data", "Max stack size": "stack",
	"Max core file size": "core", "Max resident set": "rss", "Max processes": "nproc", "Max open files": "nofile",
	"Max locked memory": "memlock", "Max address space": "as", "Max file locks": "locks",
	"Max pending signals": "sigpending", "Max msgqueue size": "msgqueue", "Max nice priority": "nice",
	"Max realtime priority": "rtprio", "Max realtime timeout": "rttime",
}

// ParseLimits parses the content of /proc/PID/limits: a name in 25 columns, then
// soft, hard and, not always, a unit. Rows that are not known are skipped; the
// error is a *SyntaxError.
func ParseLimits(b []byte) ([]Limit, error) {
	var found []Limit
	line := 0
	for l := range bytes.Lines(b) {
		line++
		if len(l) < 26 {
			continue
		}
		name := limitNames[strings.TrimSpace(string(l[:25]))]
		if name == "" {
			continue
		}
		words := strings.Fields(string(l[25:]))
		if len(words) < 2 {
			return nil, &SyntaxError{"limits", line, "want two numbers"}
		}
		limit := Limit{Name: name}
		for i, p := range []*int64{&limit.Soft, &limit.Hard} {
			if words[i] == "unlimited" {
				*p = -1
				continue
			}
			n, err := strconv.ParseUint(words[i], 10, 63)
			if err != nil {
				return nil, &SyntaxError{"limits", line, "bad number"}
			}
			*p = int64(n)
		}
		found = append(found, limit)
	}
	return found, nil
}

// ReadLimits reads the limits of pid, in the kernel's order.
func ReadLimits(pid int) ([]Limit, error) {
	b, err := readWhole(pid, "limits", maxSmall)
	if err != nil {
		return nil, err
	}
	limits, err := ParseLimits(b)
	if err != nil {
		return nil, wrap(pid, "limits", err)
	}
	return limits, nil
}

// IO is /proc/PID/io as far as anybody asked for it.
type IO struct {
	Read, Written         uint64 // bytes by system calls, from and to anything
	DiskRead, DiskWritten uint64 // bytes that a block device had to give, or will get
}

// ReadIO reads how much pid has read and written. It needs the rights to trace
// the target.
func ReadIO(pid int) (IO, error) {
	// An exec that is under way holds what this waits for.
	b, _, err := readLocked(pid, "io", maxSmall, lockLimit)
	if err != nil {
		return IO{}, err
	}
	return parseIO(b), nil
}

// parseIO takes lines "name: number"; what is not there stays 0.
func parseIO(b []byte) (io IO) {
	for l := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(l), ": ")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch name {
		case "rchar":
			io.Read = n
		case "wchar":
			io.Written = n
		case "read_bytes":
			io.DiskRead = n
		case "write_bytes":
			io.DiskWritten = n
		}
	}
	return io
}

// Cgroup gives the control group of pid: of version 2 if it is in one, else
// that of the first hierarchy; empty where there are none. It is seen from the
// cgroup namespace of the reader.
func Cgroup(pid int) (string, error) {
	// One lock for all control groups of the machine, which may be long busy.
	b, _, err := readLocked(pid, "cgroup", maxSmall, lockLimit)
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Lstat(path(pid, "stat")); serr == nil {
			return "", nil // no control groups in this kernel
		}
	}
	if err != nil {
		return "", err
	}
	group := ""
	for l := range strings.Lines(string(b)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(l), ":")
		_, name, _ := strings.Cut(rest, ":")
		if id == "0" || group == "" {
			group = name
		}
	}
	return group, nil
}

// ReadMaps reads the mappings of pid in the order of their addresses, as many as
// limit bytes of text describe, without the counts and flags of ReadSmaps and at
// a hundredth of its cost; cut says that there are more. A kernel thread and a
// zombie have none.
func ReadMaps(pid, limit int) (maps []Mapping, cut bool, err error) {
	b, cut, err := readLocked(pid, "maps", limit, lockLimit)
	if err != nil {
		return nil, false, err
	}
	if cut {
		b = b[:bytes.LastIndexByte(b, '\n')+1]
	}
	if maps, err = ParseMaps(b); err != nil {
		return nil, false, wrap(pid, "maps", err)
	}
	return maps, cut, nil
}

// Rollup is /proc/PID/smaps_rollup as far as anybody asked for it; bytes.
type Rollup struct {
	PSS          uint64 // each page divided by how many share it
	PrivateDirty uint64 // pages of its own that are not those of a file
}

// ReadRollup reads the sum over all mappings. The kernel walks the target's page
// tables for it, some 10 ms per GiB, and lets others in between.
func ReadRollup(pid int) (Rollup, error) {
	b, _, err := readLocked(pid, "smaps_rollup", maxSmall, smapsLimit)
	if err != nil {
		return Rollup{}, err
	}
	return parseRollup(b), nil
}

// parseRollup takes lines "Name:   12 kB"; what is not there stays 0.
func parseRollup(b []byte) (r Rollup) {
	for l := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(l, []byte{':'})
		n, _ := kilobytes(bytes.TrimSpace(value))
		switch string(name) {
		case "Pss":
			r.PSS = n
		case "Private_Dirty":
			r.PrivateDirty = n
		}
	}
	return r
}
