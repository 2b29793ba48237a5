package vmtest

import (
	"bytes"
	"fmt"
	"path"
)

// archive is a cpio archive of the "newc" kind, as the kernel unpacks it
// (Documentation/driver-api/early-userspace/buffer-format.rst). Paths are
// relative to the root of the file system; a directory comes before what is in it.
type archive struct {
	out  bytes.Buffer
	last int
	dirs map[string]bool
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

func (a *archive) dir(name string) {
	if a.dirs == nil {
		a.dirs = map[string]bool{}
	}
	a.dirs[name] = true
	a.add(name, typeDir|0o755, nil)
}

// parents adds the directories above name that are not there yet.
func (a *archive) parents(name string) {
	if dir := path.Dir(name); dir != "." && !a.dirs[dir] {
		a.parents(dir)
		a.dir(dir)
	}
}

func (a *archive) file(name string, text []byte) { a.add(name, typeFile|0o755, text) }

func (a *archive) link(name, target string) { a.add(name, typeLink|0o777, []byte(target)) }

func (a *archive) add(name string, mode uint32, text []byte) {
	links := 1
	if mode&typeDir == typeDir && mode&typeFile != typeFile {
		links = 2
	}
	a.last++
	a.header(name, a.last, mode, links, len(text))
	a.out.Write(text)
	a.align()
}

// header writes inode, mode, uid, gid, nlink, mtime, size, four device numbers,
// the length of the name with its NUL, and a checksum that newc does not have.
func (a *archive) header(name string, inode int, mode uint32, links, size int) {
	fmt.Fprintf(&a.out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	a.align()
}

func (a *archive) align() {
	for a.out.Len()%4 != 0 {
		a.out.WriteByte(0)
	}
}

// bytes ends the archive.
func (a *archive) bytes() []byte {
	a.header("TRAILER!!!", 0, 0, 1, 0)
	return a.out.Bytes()
}
