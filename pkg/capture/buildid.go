package capture

import (
	"io"
	"strconv"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// BuildID names the build of one ELF file that is mapped.
type BuildID struct {
	File  string
	Start uint64 // of the mapping that begins with its header
	ID    string // hexadecimal
}

// maxBuildIDs bounds the list; a browser maps some hundreds of files.
const maxBuildIDs = 4096

// buildIDs finds the build ids of the files that are mapped with their ELF
// header; mem is asked for it.
func buildIDs(maps []procfs.Mapping, mem io.ReaderAt) (ids []BuildID) {
	for _, m := range maps {
		if m.Inode == 0 && m.Name != "[vdso]" || m.Offset != 0 || m.Perm[0] != 'r' || m.Shared() {
			continue
		}
		if len(ids) == maxBuildIDs {
			break
		}
		if id := corefile.BuildID(io.NewSectionReader(mem, int64(m.Start), int64(m.Size()))); id != nil {
			ids = append(ids, BuildID{m.Name, m.Start, fmt.Sprintf("%x", id)})
		}
	}
	return ids
}

// Address writes an address as gdb does.
func Address(v uint64) string { return "0x" + strconv.FormatUint(v, 16) }
