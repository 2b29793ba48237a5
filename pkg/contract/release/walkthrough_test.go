package release

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// masks tell of a line what is another one each time: of all lines, then of those
// below a command of the given beginning.
var masks = []struct {
	command string
	pattern *regexp.Regexp
	instead string
}{
	{"", regexp.MustCompile(`\b[0-9a-f]{8,}\b`), "HEX"},
	{"", regexp.MustCompile(`(\d+(\.\d+)?(ms|s\b|m\b)?)+`), "N"},
	{"", regexp.MustCompile(`[ \t]+`), " "},
	{"hbsend -version", regexp.MustCompile(`^hbsend .*`), "hbsend VERSION"},
	// What works, and what there is to look at, depends on the host.
	{"vigil-doctor", regexp.MustCompile(`^ ->.*|^exit .*|^(\w+) .*`), "$1"},
	{"diagfifo send", regexp.MustCompile(`^N .*`), "N"},
	{"vigil-drill", regexp.MustCompile(` (N|-) ok .*`), " ok"},
	{"head -n 3", regexp.MustCompile(`, state .*`), ""},
	{"vigil-debug", regexp.MustCompile(`by (hbsend,hbwatch|hbwatch,hbsend)$`), "by both"},
	{"vigil-crashes", regexp.MustCompile(`SIGSEGV .*`), "SIGSEGV"},
	{"corecap run", regexp.MustCompile(` \(core dumped\)`), ""},
}

// normal gives a transcript without what is another one each time, and lines that
// are then alike only once.
func normal(text string) string {
	var out []string
	command := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if shown, ok := strings.CutPrefix(line, "$ "); ok {
			command = shown
		}
		for _, m := range masks {
			if m.command == "" || strings.HasPrefix(command, m.command) && line != "$ "+command {
				line = m.pattern.ReplaceAllString(line, m.instead)
			}
		}
		if line = strings.TrimSpace(line); line != "" && (len(out) == 0 || line != out[len(out)-1]) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// TestWalkthrough: what docs/walkthrough.txt shows is what happens, with either form
// of the archive, where there is only a busybox.
func TestWalkthrough(t *testing.T) {
	gate.Need(t, "root", "tmpfs", "ptrace", "shells")
	want := normal(read(t, filepath.Join(tree.Root(), "docs/walkthrough.txt")))
	for _, suffix := range []string{"", "-one"} {
		t.Run("form"+suffix, func(t *testing.T) {
			t.Parallel()
			archive := filepath.Join(released(t), "vigil-"+tree.Version+"-linux-amd64"+suffix+".tar.gz")
			said := try(t, nil, filepath.Join(tree.Root(), "scripts/walkthrough"), archive)
			if got := normal(said); got != want {
				t.Errorf("this is no more what is in docs/walkthrough.txt:\n%s\ndifferences, without what is another one each time:\n%s", said, differences(want, got))
			}
		})
	}
}

// differences lists the lines that only one of two texts has.
func differences(want, got string) string {
	var out strings.Builder
	only := func(mark, a, b string) {
		for line := range strings.SplitSeq(a, "\n") {
			if !strings.Contains("\n"+b+"\n", "\n"+line+"\n") {
				out.WriteString(mark + line + "\n")
			}
		}
	}
	only("- ", want, got)
	only("+ ", got, want)
	return out.String()
}

func TestNormal(t *testing.T) {
	a := "$ vigil-drill web\nstop          dead, then alive again      4.8  ok      suspect 4.8, pid 714 -> 1312\n$ ls\nsh_1_2026Z.core\n"
	b := "$ vigil-drill web\nstop  dead, then alive again  11.8  ok  dead 11.8, pid 4 -> 12\n\n$ ls\nsh_77_2027Z.core\n"
	if normal(a) != normal(b) {
		t.Errorf("\n%s\n\n%s", normal(a), normal(b))
	}
	for _, other := range []string{strings.Replace(b, "ok", "NO", 1), strings.Replace(b, ".core", ".json", 1), strings.Replace(b, "dead, then", "then", 1)} {
		if d := differences(normal(a), normal(other)); d == "" {
			t.Errorf("no difference is seen to\n%s", other)
		}
	}
}
