package release

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// one gives the only file of a pattern.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// TestPackages makes the packages of this machine. That of Debian is installed and
// removed by its own dpkg in a root of its own; all three hold what the archive has.
func TestPackages(t *testing.T) {
	gate.Need(t, "packager", "root", "dpkg", "rpm")
	dir, err := produce("amd64")
	if err != nil {
		t.Fatal(err)
	}
	archive := files(t, filepath.Dir(one(t, unpacked(t, "amd64", "")+"/bin")))
	archive = slices.DeleteFunc(archive, func(s string) bool { return s == "install" })

	deb := one(t, dir+"/*.deb")
	root := t.TempDir()
	for _, name := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/info", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := []string{"dpkg", "--root=" + root, "--force-script-chrootless", "--log=/dev/null"}
	try(t, nil, append(dpkg, "--install", deb)...)
	if got := files(t, root+"/usr"); !slices.Equal(got, archive) {
		t.Errorf("dpkg installed\n%q, the archive has\n%q", got, archive)
	}
	if got, want := try(t, nil, root+"/usr/bin/hbwatch", "-version"), "hbwatch "+tree.Version+" linux/amd64\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := try(t, nil, append(dpkg, "--verify", "vigil")...); got != "" {
		t.Errorf("dpkg --verify: %s", got)
	}
	try(t, nil, append(dpkg, "--purge", "vigil")...)
	for _, name := range files(t, root) {
		if !strings.HasPrefix(name, "var/lib/dpkg/") {
			t.Errorf("dpkg left behind %s", name)
		}
	}

	unpack := map[string]string{
		"rpm": `rpm2cpio "$1" | cpio -idm --quiet --no-absolute-filenames`,
		"apk": `tar -xzf "$1" --warning=no-unknown-keyword`,
	}
	for kind, command := range unpack {
		to := t.TempDir()
		try(t, nil, "sh", "-c", `cd "$2" && `+command, "sh", one(t, dir+"/*."+kind), to)
		if got := files(t, to+"/usr"); !slices.Equal(got, archive) {
			t.Errorf("%s holds\n%q, the archive has\n%q", kind, got, archive)
		}
		if got := sum(t, to+"/usr/bin/hbsend"); got != sum(t, unpacked(t, "amd64", "")+"/bin/hbsend") {
			t.Errorf("%s: another hbsend", kind)
		}
	}
	if info := read(t, dir+"/SHA256SUMS"); strings.Count(info, "\n") != 7 {
		t.Errorf("SHA256SUMS:\n%s", info)
	}
}
