package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// TestForeign runs the senders and the watchers of other machines beside those of
// this one, in one directory: what the one writes the other has to believe, with a
// signature, too. mips has 32 bits, and its bytes the other way round.
func TestForeign(t *testing.T) {
	gate.Need(t, "qemu-user")
	native := tree.Built(t) + "/dist/"
	for arch, emulator := range map[string]string{"arm64": "qemu-aarch64", "mips": "qemu-mips"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bin := t.TempDir()
			for _, path := range []string{dir, bin} {
				if err := os.Chmod(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			try(t, []string{"GOARCH=" + arch, "VERSION=" + tree.Version}, filepath.Join(tree.Built(t), "scripts/build"), "-1", "-o", bin)
			foreign := func(args ...string) []string { return append([]string{emulator, bin + "/vigil"}, args...) }
			if got, want := try(t, nil, foreign("hbsend", "-version")...), "hbsend "+tree.Version+" linux/"+arch+"\n"; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			key := dir + "/key"
			if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			beat := []string{"-interval", "50ms", "-count", "3", "-ttl", "1h", "-m", "load=0.25", "-key", key}
			try(t, nil, foreign(append(append([]string{"hbsend"}, beat...), dir+"/there.hb")...)...)
			try(t, nil, append(append([]string{native + "hbsend"}, beat...), dir+"/here.hb")...)
			look := []string{"-once", "-json", "-key", key, dir}
			ours := try(t, nil, append([]string{native + "hbwatch"}, look...)...)
			theirs := try(t, nil, foreign(append([]string{"hbwatch"}, look...)...)...)
			for who, told := range map[string]string{"ours": ours, "theirs": theirs} {
				for _, id := range []string{"here", "there"} {
					if !strings.Contains(told, `"id":"`+id+`","state":"alive"`) {
						t.Errorf("%s: %s is not alive:\n%s", who, id, told)
					}
				}
			}
			// The next sender goes on where that of another machine has left off.
			try(t, nil, append(append([]string{native + "hbsend"}, beat...), dir+"/there.hb")...)
			if text := read(t, dir+"/there.hb"); !strings.Contains(text, `"seq":6,`) {
				t.Errorf("after both: %s", text)
			}
		})
	}
}
