package rundir

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names lists the directory, unsorted, without "." and "..".
func (d *Dir) Names() (names []string, err error) {
	err = d.Each(func(name string, _ uint64) { names = append(names, strings.Clone(name)) })
	return names, err
}

// Each is Names without memory for them: visit is called for each, and may keep
// a clone of the name, not the name. With it goes the number of the inode, as
// the directory has it.
func (d *Dir) Each(visit func(name string, ino uint64)) error {
	// An own open file description, so that concurrent listings do not share
	// one position.
	fd, err := openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fail(d.path, "list", err)
	}
	defer unix.Close(fd)
	for buf := make([]byte, 16<<10); ; {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fail(d.path, "list", err)
		}
		if n == 0 {
			return nil
		}
		for b := buf[:n]; len(b) > direntName; {
			// By bytes: a unix.Dirent is longer than the last entry, and the buffer.
			ino := binary.NativeEndian.Uint64(b[unsafe.Offsetof(unix.Dirent{}.Ino):])
			size := binary.NativeEndian.Uint16(b[unsafe.Offsetof(unix.Dirent{}.Reclen):])
			name, _, _ := bytes.Cut(b[direntName:size], []byte{0})
			if s := unsafe.String(unsafe.SliceData(name), len(name)); s != "." && s != ".." {
				visit(s, ino)
			}
			b = b[size:]
		}
	}
}

// direntName is where the name begins in what getdents64(2) gives.
const direntName = int(unsafe.Offsetof(unix.Dirent{}.Name))
