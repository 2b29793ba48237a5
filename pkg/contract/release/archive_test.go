package release

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

var tools = []string{"corecap", "diagfifo", "hbsend", "hbwatch", "wdping"}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sum(t *testing.T, path string) string {
	t.Helper()
	b := sha256.Sum256([]byte(read(t, path)))
	return hex.EncodeToString(b[:])
}

// TestSums: that both builds, in two directories, gave the same bytes is what
// scripts/release -c has compared; its list names every file.
func TestSums(t *testing.T) {
	dir := released(t)
	if !strings.Contains(said, "built twice, in two directories: the same bytes") {
		t.Errorf("release -c said\n%s", said)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSpace(read(t, dir+"/SHA256SUMS")), "\n")
	if len(list) != len(entries)-1 || len(list) != 8 {
		t.Fatalf("%d files, %d in SHA256SUMS, want 8", len(entries), len(list))
	}
	for _, line := range list {
		want, name, _ := strings.Cut(line, "  ")
		if got := sum(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %s, listed is %s", name, got, want)
		}
	}
}

// TestInstall installs the archive, both forms of it, with nothing but busybox, and
// removes it again.
func TestInstall(t *testing.T) {
	gate.Need(t, "shells")
	for _, suffix := range []string{"", "-one"} {
		t.Run("form"+suffix, func(t *testing.T) {
			top := unpacked(t, "amd64", suffix)
			stage := t.TempDir()
			env := []string{"DESTDIR=" + stage, "PREFIX=/usr"}
			lines := try(t, env, "busybox", "sh", top+"/install", "-n")
			try(t, env, "busybox", "sh", top+"/install")
			try(t, env, "busybox", "sh", top+"/install") // over itself
			found := files(t, stage+"/usr")
			if n := strings.Count(lines, "\n"); n != len(found) || n < 40 {
				t.Errorf("install -n named %d files, %d were installed", n, len(found))
			}
			for _, name := range []string{"bin/vigil-debug", "share/vigil/vigil.sh", "share/man/man8/hbsend.8", "share/doc/vigil/LICENSE", "share/doc/vigil/docs/debugging.md"} {
				if !slices.Contains(found, name) {
					t.Errorf("no %s", name)
				}
			}
			for _, tool := range tools {
				if got, want := try(t, nil, stage+"/usr/bin/"+tool, "-version"), tool+" "+tree.Version+" linux/amd64\n"; got != want {
					t.Errorf("%q, want %q", got, want)
				}
				if st, err := os.Lstat(stage + "/usr/bin/" + tool); err != nil || (st.Mode()&os.ModeSymlink != 0) != (suffix != "") {
					t.Errorf("%s: %v, %v", tool, st.Mode(), err)
				}
			}
			try(t, env, "busybox", "sh", top+"/install", "-u")
			if left := files(t, stage); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestMachine: who lacks a program says so, on the terminal and in the archive.
func TestMachine(t *testing.T) {
	top := unpacked(t, "mips", "")
	if _, err := os.Stat(top + "/bin/corecap"); err == nil {
		t.Error("mips has a corecap")
	}
	for what, text := range map[string]string{"terminal": said, "archive": read(t, top+"/share/doc/vigil/MACHINE")} {
		if !strings.Contains(text, "corecap: left out: ") {
			t.Errorf("%s: %s", what, text)
		}
	}
	if text := read(t, unpacked(t, "amd64", "")+"/share/doc/vigil/MACHINE"); text != "linux/amd64\n" {
		t.Errorf("amd64: %q", text)
	}
}

// TestBill holds the bill of materials to the programs and to go.mod.
func TestBill(t *testing.T) {
	for _, suffix := range []string{"", "-one"} {
		top := unpacked(t, "amd64", suffix)
		bill := read(t, top+"/share/doc/vigil/vigil.spdx")
		if beside := read(t, filepath.Join(released(t), filepath.Base(top)+".spdx")); beside != bill {
			t.Errorf("%s: in the archive and beside it are two", top)
		}
		for _, line := range []string{"SPDXVersion: SPDX-2.3", "Created: 2023-11-14T22:13:20Z", "PackageVersion: " + tree.Version,
			"Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-vigil"} {
			if !strings.Contains(bill, "\n"+line+"\n") && !strings.HasPrefix(bill, line) {
				t.Errorf("no line %q", line)
			}
		}
		programs := tools
		if suffix != "" {
			programs = []string{"vigil"}
		}
		for _, tool := range programs {
			if !strings.Contains(bill, "PackageFileName: ./bin/"+tool+"\nPackageChecksum: SHA256: "+sum(t, top+"/bin/"+tool)+"\n") {
				t.Errorf("%s: not with its sum", tool)
			}
		}
		modules := read(t, filepath.Join(tree.Root(), "go.mod"))
		for _, path := range []string{"golang.org/x/sys", "github.com/mdlayher/watchdog"} {
			_, rest, _ := strings.Cut(modules, path+" ")
			version, _, _ := strings.Cut(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), " ")
			if !strings.Contains(bill, "purl pkg:golang/"+path+"@"+version+"\n") || version == "" {
				t.Errorf("%s %s: not in the bill", path, version)
			}
		}
		if strings.Contains(bill, "testscript") || strings.Contains(bill, "go-internal") {
			t.Error("what only tests use is in the bill")
		}
		if n := strings.Count(bill, "\nSPDXID: "); n != len(programs)+5 {
			t.Errorf("%d elements, want the document, vigil, the library, two modules and %d programs", n, len(programs))
		}
	}
}
