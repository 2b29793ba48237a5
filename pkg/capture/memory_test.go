package capture

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"vigil/pkg/ptrace"
)

// readCore returns size bytes at addr; nil where the core has none.
func readCore(t *testing.T, f *elf.File, addr, size uint64) []byte {
	t.Helper()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr < p.Vaddr+p.Memsz {
			if addr+size > p.Vaddr+p.Filesz {
				return nil
			}
			b := make([]byte, size)
			if _, err := p.ReadAt(b, int64(addr-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("no segment for %#x", addr)
	return nil
}

func TestMemory(t *testing.T) {
	l := start(t, "memory", filepath.Join(t.TempDir(), "file"))
	for filter, file := range map[string]bool{"33": false, "ff": true} {
		if err := os.WriteFile("/proc/"+strconv.Itoa(l.pid)+"/coredump_filter", []byte("0x"+filter), 0); err != nil {
			t.Fatal(err)
		}
		core, r := l.capture(t)
		f, err := elf.Open(core)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		mem, err := ptrace.OpenMemory(l.pid)
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		fromFile := map[bool]string{false: "absent", true: "same"}[file]
		want := map[string]string{
			"sparse": "same", "untouched": "absent", "dontdump": "absent", "protected": "same", "forked": "same",
			"shared": "same", "written": "same", "clean": fromFile, "fileshared": fromFile,
		}
		for _, line := range l.lines {
			var name string
			var addr, size uint64
			if _, err := fmt.Sscanf(line, "%s %x %x", &name, &addr, &size); err != nil {
				t.Fatal(err)
			}
			got := readCore(t, f, addr, size)
			switch {
			case want[name] == "absent":
				if got != nil {
					t.Errorf("filter %s: %s is in the core", filter, name)
				}
				continue
			case got == nil:
				t.Errorf("filter %s: %s is not in the core", filter, name)
				continue
			}
			real := make([]byte, size)
			mem.ReadAt(real, int64(addr)) // the end of "written" cannot be read
			if (name == "shared" || name == "fileshared") && os.Geteuid() != 0 {
				onlyTouched(real, got)
			}
			if !bytes.Equal(got, real) {
				t.Errorf("filter %s: %s differs", filter, name)
			}
		}
		if os.Geteuid() == 0 && r.Unread != 2*4096 {
			t.Errorf("filter %s: unread %d, want the two pages behind the end of the file", filter, r.Unread)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(core, &st); err != nil || st.Blocks*512 > 8<<20 || st.Size < 64<<20 {
			t.Errorf("size %d, on disk %d", st.Size, st.Blocks*512)
		}
	}
}

// onlyTouched clears the pages of real that got lacks: what others wrote to
// shared memory is seen by root only. The page that the target wrote itself must
// be there.
func onlyTouched(real, got []byte) {
	for i := 0; i < len(real); i += 4096 {
		if got[i] == 0 && real[i] != 't' {
			clear(real[i : i+4096])
		}
	}
}
