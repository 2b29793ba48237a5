package spool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/pkg/rundir"
)

// prunable makes a directory of captures, and of what looks like them and is not.
func prunable(t *testing.T) (path string) {
	t.Helper()
	path = t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, size int) {
		if err := os.WriteFile(filepath.Join(path, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, base := range []string{"a_1_20260301T000000Z", "a_2_20260301T000001Z", "a_3_20260301T000002Z"} {
		write(base+".core", 10000)
		write(base+".json", 100)
	}
	write("a_4_20260301T000003Z.core.gz", 5000)
	// What looks like ours and is not, or the other way round.
	write("notes.txt", 1)
	write("a_1_20260301T000000Z.core.bak", 1)
	if err := os.Symlink("notes.txt", filepath.Join(path, "a_5_20200301T000000Z.core")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(path, "a_6_20200301T000000Z.core"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What its user has done to his own does not save it.
	write("b_7_20260301T000003Z.core", 1)
	if err := os.Link(filepath.Join(path, "b_7_20260301T000003Z.core"), filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	write("b_8_20260301T000004Z.core", 1)
	if err := os.Chmod(filepath.Join(path, "b_8_20260301T000004Z.core"), 0o666); err != nil {
		t.Fatal(err)
	}
	write("b_9_20260301T000005Z.core", 1)
	return path
}

func TestPrune(t *testing.T) {
	path := prunable(t)
	dir, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	gone, err := Prune(dir, Limits{Keep: 2})
	var bases []string
	for _, e := range gone {
		bases = append(bases, e.Base)
	}
	slices.Sort(bases)
	if err != nil || !slices.Equal(bases, []string{"a_1_20260301T000000Z", "a_2_20260301T000001Z", "b_7_20260301T000003Z"}) {
		t.Fatalf("gone: %v, %v", gone, err)
	}
	if gone[0].Disk < 10100 || gone[0].Size != 10000 || gone[0].UID != os.Getuid() {
		t.Errorf("%+v", gone[0])
	}
	names, err := dir.Names()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	want := []string{
		"a_1_20260301T000000Z.core.bak", "a_3_20260301T000002Z.core", "a_3_20260301T000002Z.json", "a_4_20260301T000003Z.core.gz",
		"a_5_20200301T000000Z.core", "a_6_20200301T000000Z.core", "b_8_20260301T000004Z.core", "b_9_20260301T000005Z.core", "link", "notes.txt",
	}
	if !slices.Equal(names, want) {
		t.Errorf("left: %q\nwant: %q", names, want)
	}
}
