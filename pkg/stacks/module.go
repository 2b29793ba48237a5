package stacks

import (
	"bytes"
	"io"
	"os"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/unwind"
)

// debugDir is where distributions put the symbols that they stripped.
const debugDir = "/usr/lib/debug/.build-id/"

// modules opens the files that are mapped. Close closes them.
type modules struct {
	memory io.ReaderAt       // nil: files are taken for what is mapped
	bases  map[string]uint64 // by Key: where the first byte of the file is
	paths  func(m unwind.Mapping) []string
	open   []*os.File
}

func newModules(maps []unwind.Mapping, paths func(unwind.Mapping) []string) *modules {
	ms := &modules{bases: map[string]uint64{}, paths: paths}
	for _, m := range maps {
		if _, known := ms.bases[m.Key]; !known && m.Offset == 0 {
			ms.bases[m.Key] = m.Start
		}
	}
	return ms
}

func (ms *modules) Close() {
	for _, f := range ms.open {
		f.Close()
	}
	ms.open = nil
}

// Open opens the file behind m: the first path under which there is one that
// begins as memory says.
func (ms *modules) Open(m unwind.Mapping) (io.ReaderAt, int64) {
	for _, path := range ms.paths(m) {
		if f, size := ms.file(path); f != nil && ms.same(f, m) {
			return f, size
		}
	}
	return nil, 0
}

// same compares the beginning of a file, which holds its headers and build id,
// with what is mapped of it. What is not mapped cannot be compared.
func (ms *modules) same(f io.ReaderAt, m unwind.Mapping) bool {
	base, known := ms.bases[m.Key]
	if !known || ms.memory == nil {
		return true
	}
	var loaded, stored [1024]byte
	n, _ := ms.memory.ReadAt(loaded[:], int64(base))
	if n < 64 { // the header of an ELF file
		return true
	}
	k, _ := f.ReadAt(stored[:n], 0)
	return k == n && bytes.Equal(loaded[:n], stored[:n])
}

// Debug opens the file with the symbols of a module.
func (ms *modules) Debug(buildID []byte) (io.ReaderAt, int64) {
	id := fmt.Sprintf("%x", buildID)
	if len(id) < 4 {
		return nil, 0
	}
	if f, size := ms.file(debugDir + id[:2] + "/" + id[2:] + ".debug"); f != nil {
		return f, size
	}
	return nil, 0
}

// file opens a regular file. It looks before it opens: the name comes from a
// core or a foreign process, and to open a device or a FIFO has effects.
func (ms *modules) file(path string) (*os.File, int64) {
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return nil, 0
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, 0
	}
	ms.open = append(ms.open, f)
	return f, st.Size()
}
