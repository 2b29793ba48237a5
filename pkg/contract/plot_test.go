package contract

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/gate"
)

const plotSample = "line\tsetting\tt_d_mean_s\tt_d_p99_s\tmistakes\tmistakes_per_day\tt_m_mean_s\tp_a\tnote\n" +
	"constant\tfixed:intervals=1.02\t1.020\t1.020\t90000\t5000.0000\t0.050\t0.90000000\t-\n" +
	"constant\tfixed:intervals=2\t2.000\t2.000\t9\t24.0000\t0.500\t0.99900000\t-\n" +
	"constant\tfixed:intervals=9\t9.000\t9.000\t0\t0.0000\t0.000\t1.00000000\t-\n" +
	"a<b&c\tphi:threshold=8\t1.500\t1.700\t30\t80.0000\t0.400\t0.99800000\t-\n" +
	"a<b&c\tphi\t4.500\t4.700\t3\t8.0000\t0.400\t0.99990000\tdefault\n" +
	"constant\tmissed:k=3\t3.500\t3.500\t4\t10.6667\t0.400\t0.99980000\tasked\n"

// svg is what a picture is made of; the error tells that it is not XML.
func svg(text string) (elements map[string]int, words string, err error) {
	elements = map[string]int{}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		switch token, err := d.Token(); token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				if strings.Contains(a.Value, "nan") || strings.Contains(a.Value, "inf") {
					return nil, "", fmt.Errorf("%s %s=%q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			words += string(token) + "\n"
		case nil:
			if err == io.EOF {
				err = nil
			}
			return elements, words, err
		}
	}
}

// awks makes, for each awk of this machine, a directory in which it is the one;
// "" stands for the awk that is found anyway.
func awks(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"awk": ""}
	for _, name := range []string{"busybox", "gawk", "mawk", "original-awk"} {
		if path, err := exec.LookPath(name); err == nil {
			dir := t.TempDir()
			if err := os.Symlink(path, filepath.Join(dir, "awk")); err != nil {
				t.Fatal(err)
			}
			found[name] = dir + ":"
		}
	}
	return found
}

func TestTunePlot(t *testing.T) {
	gate.Need(t, "shells")
	sample := filepath.Join(t.TempDir(), "a=b.tsv")
	if err := os.WriteFile(sample, []byte(plotSample), 0o600); err != nil {
		t.Fatal(err)
	}
	first := ""
	for awk, dir := range awks(t) {
		for _, shell := range gate.Shells() {
			argv := append(slices.Clone(shell), filepath.Join(root, "scripts/tune-plot"), "-t", `<b> "x" & y`, sample)
			got := run(t, []string{"PATH=" + dir + os.Getenv("PATH")}, argv...)
			elements, words, err := svg(got.stdout)
			if got.code != 0 || got.stderr != "" || err != nil {
				t.Fatalf("%s, %s: exit status %d, %v\n%s", shell, awk, got.code, err, got.stderr)
			}
			for _, want := range []string{`<b> "x" & y`, "a<b&c", "constant", "mean detection time T_D, seconds", "mistakes a day", "none", "100"} {
				if !strings.Contains(words, want+"\n") {
					t.Errorf("%s, %s: the picture has no text %q", shell, awk, want)
				}
			}
			// A path for each line; a point for each setting from 1000 mistakes on
			// down, a ring for the default, one in the legend.
			if elements["svg"] != 1 || elements["path"] != 2 || elements["circle"] != 3+1+1 {
				t.Errorf("%s, %s: %v", shell, awk, elements)
			}
			if first == "" {
				first = got.stdout
			}
			if got.stdout != first {
				t.Errorf("%s, %s: another picture", shell, awk)
			}
		}
	}
}

func TestTunePlotRefuses(t *testing.T) {
	plot := filepath.Join(root, "scripts/tune-plot")
	head, _, _ := strings.Cut(plotSample, "\n")
	for awk, dir := range awks(t) {
		for _, test := range []struct {
			name, text string
			code       int
			stderr     string
		}{
			{"nothing", "", 100, "no values: want what hbwatch tune -tsv prints"},
			{"no settings", head + "\n", 1, "nothing to draw"},
			{"a table for people", "DETECTOR  T_D\n", 100, ".tsv:1: want the names of the columns"},
			{"half a line", plotSample + "phi\tphi:thre", 100, ".tsv:8: want numbers"},
			{"words for numbers", strings.Replace(plotSample, "2.000", "nan", 1), 100, ".tsv:3: want numbers"},
		} {
			file := filepath.Join(t.TempDir(), "x.tsv")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := run(t, []string{"PATH=" + dir + os.Getenv("PATH")}, plot, file)
			if got.code != test.code || got.stdout != "" || !strings.Contains(got.stderr, test.stderr) {
				t.Errorf("%s, %s: %+v", test.name, awk, got)
			}
		}
	}
	for _, file := range []string{"/nonexistent/x.tsv", t.TempDir()} {
		if got := run(t, nil, plot, file); got.code != 111 || !strings.Contains(got.stderr, file+": cannot be read") {
			t.Errorf("%s: %+v", file, got)
		}
	}
	if got := run(t, nil, plot, "a", "b"); got.code != 100 || !strings.Contains(got.stderr, "unexpected argument: b") {
		t.Errorf("two files: %+v", got)
	}
}
