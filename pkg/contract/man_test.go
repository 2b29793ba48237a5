package contract

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

// subcommands are the words that some programs take before their flags. The
// flags of all of them stand on the one page of the program.
var subcommands = map[string][]string{
	"corecap":  {"stacks", "handler", "pattern", "prune", "run"},
	"diagfifo": {"send", "dump", "sample", "hold", "renew", "release"},
	"hbwatch":  {"tune"},
}

// sections are those that every page has, in this order. Others may stand
// between them.
var sections = []string{
	"NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS", "SECURITY", "SEE ALSO",
}

var (
	helpFlag = regexp.MustCompile(`(?m)^  -([A-Za-z0-9-]+)`)
	helpExit = regexp.MustCompile(`(?m)^  (\d+) `)
	pageFlag = regexp.MustCompile(`\bFl ([A-Za-z0-9-]+)`)
	pageWord = regexp.MustCompile(`(?m)^\.Nm \w+\n\.Cm (\w+)$`)
	pageExit = regexp.MustCompile(`(?m)^\.It (?:Li )?(\d+)`)
)

// harvest returns what the first group of pattern matches in text, once each
// and sorted.
func harvest(text string, pattern *regexp.Regexp) []string {
	var found []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// A page is a man page in mdoc: its sections' texts by their titles.
type page struct {
	titles []string
	text   map[string]string
}

func parsePage(text string) page {
	p := page{text: map[string]string{}}
	for _, part := range strings.Split("\n"+text, "\n.Sh ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		p.titles = append(p.titles, title)
		p.text[title] += body + "\n"
	}
	return p
}

// flags returns the flags that the page explains: those that head an item of
// a list.
func (p page) flags() []string {
	var items strings.Builder
	for _, body := range p.text {
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, ".It Fl ") {
				items.WriteString(line)
			}
		}
	}
	return without(harvest(items.String(), pageFlag), "h", "help")
}

func without(list []string, words ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(words, s) })
}

// lacks lists what of want is not in have.
func lacks(have, want []string) []string { return without(want, have...) }

// compare says how a page and the usage text of its program differ.
func compare(p page, help string) (found []string) {
	flags, codes := harvest(help, helpFlag), harvest(help, helpExit)
	note := func(what string, list []string) {
		if len(list) > 0 {
			found = append(found, what+": "+strings.Join(list, " "))
		}
	}
	note("flags that the page does not explain", lacks(p.flags(), flags))
	note("flags that the program does not have", lacks(flags, p.flags()))
	pageCodes := harvest(p.text["EXIT STATUS"], pageExit)
	note("exit codes that the page does not list", lacks(pageCodes, codes))
	note("exit codes that the program does not list", lacks(codes, pageCodes))
	if len(flags) == 0 || len(codes) == 0 {
		found = append(found, "usage text without flags or exit codes")
	}
	return found
}

// missing says which sections a page lacks, or where their order is broken.
func (p page) missing() string {
	rest := p.titles
	for _, title := range sections {
		i := slices.Index(rest, title)
		if i < 0 {
			return title
		}
		rest = rest[i+1:]
	}
	return ""
}

const (
	sampleHelp = "usage: x [flags]\nDoes x.\n\nflags:\n  -interval duration\n    \ttime (default 5s)\n  -q\tsay less\n\nexit codes:\n  0    done\n  100  wrong usage\n"
	samplePage = ".Dd $Mdocdate$\n.Sh DESCRIPTION\n.Bl -tag -width Ds\n.It Fl interval Ar duration\nSee\n.Fl other .\n.It Fl q\n.El\n.Sh EXIT STATUS\n.Bl -tag\n.It 0\ndone\n.It Li 100\nusage\n.El\n"
)

func TestCompareNotices(t *testing.T) {
	for _, test := range []struct{ name, page, help, want string }{
		{"alike", samplePage, sampleHelp, ""},
		{"flag not explained", strings.Replace(samplePage, ".It Fl q\n", "", 1), sampleHelp, "flags that the page does not explain: q"},
		{"flag that is gone", samplePage, strings.Replace(sampleHelp, "  -q\tsay less\n", "", 1), "flags that the program does not have: q"},
		{"code not listed", strings.Replace(samplePage, ".It Li 100\n", "", 1), sampleHelp, "exit codes that the page does not list: 100"},
		{"code that is gone", samplePage, strings.Replace(sampleHelp, "  100 ", "  ", 1), "exit codes that the program does not list: 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(compare(parsePage(test.page), test.help), "; "); got != test.want {
				t.Errorf("compare = %q, want %q", got, test.want)
			}
		})
	}
	if got := parsePage(samplePage).missing(); got != "NAME" {
		t.Errorf("missing = %q", got)
	}
}

// TestPages holds each page to its program, both ways.
func TestPages(t *testing.T) {
	for _, tool := range tools(t) {
		t.Run(tool, func(t *testing.T) {
			program := filepath.Join(tree.Built(t), "dist", tool)
			p := parsePage(read(t, filepath.Join("cmd", tool, tool+".8")))
			var help strings.Builder
			for _, sub := range append([]string{""}, subcommands[tool]...) {
				got := run(t, nil, append(append([]string{program}, strings.Fields(sub)...), "-h")...)
				if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "usage: "+tool) {
					t.Errorf("%s -h: %+v", sub, got)
				}
				help.WriteString(got.stdout)
			}
			words := slices.Sorted(slices.Values(subcommands[tool]))
			if got := harvest(p.text["SYNOPSIS"], pageWord); !slices.Equal(got, words) {
				t.Errorf("SYNOPSIS: subcommands %q, this test knows %q", got, words)
			}
			for _, c := range compare(p, help.String()) {
				t.Error(c)
			}
			if title := p.missing(); title != "" {
				t.Errorf("section %s is missing or out of place", title)
			}
		})
	}
}

// TestWrongUsage: what every program says to a flag that it does not have.
func TestWrongUsage(t *testing.T) {
	for _, tool := range tools(t) {
		program := filepath.Join(tree.Built(t), "dist", tool)
		for _, sub := range append([]string{""}, subcommands[tool]...) {
			got := run(t, nil, append(append([]string{program}, strings.Fields(sub)...), "-no-such-flag")...)
			if got.code != 100 || got.stdout != "" || !strings.Contains(got.stderr, "no-such-flag") ||
				!strings.Contains(got.stderr, tool+": error: usage: "+tool) {
				t.Errorf("%s %s -no-such-flag: %+v", tool, sub, got)
			}
		}
	}
}

var helpScriptExit = regexp.MustCompile(`(?:: |; |\b)(0|1|100|111|124|143) `)

// TestScriptPages holds the page of each script for users to what the script
// says of itself.
func TestScriptPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "scripts/*.8"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("pages %q %v", pages, err)
	}
	for _, file := range pages {
		script := strings.TrimSuffix(file, ".8")
		p := parsePage(read(t, filepath.Join("scripts", filepath.Base(file))))
		help := run(t, nil, script, "-h").stdout
		said, codes, ok := strings.Cut(strings.ReplaceAll(help, "\n", " "), "exit status: ")
		if !ok {
			t.Errorf("%s -h: %q", script, help)
		}
		flags := without(harvest(strings.ReplaceAll(said, "  -", "\n  -"), helpFlag), "h")
		if got := p.flags(); !slices.Equal(got, flags) {
			t.Errorf("%s: flags %q, its page %q", script, flags, got)
		}
		if got, want := harvest(p.text["EXIT STATUS"], pageExit), harvest(codes, helpScriptExit); !slices.Equal(got, want) {
			t.Errorf("%s: exit codes %q, its page %q", script, want, got)
		}
	}
}
