package pages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

var (
	getopts   = regexp.MustCompile(`\bgetopts :?([A-Za-z:]+) `)
	helpLine  = regexp.MustCompile(`(?m)^  -([A-Za-z])\b`)
	usageText = regexp.MustCompile(`(?s)^usage: .*?\n\n`)
	bracketed = regexp.MustCompile(`\[-([A-Za-z]+)(?: [A-Z][^\]]*)?\]`)
	itemFlag  = regexp.MustCompile(`(?m)^\.It (Fl .*)$`)
	oneFlag   = regexp.MustCompile(`Fl ([A-Za-z])\b`)
)

// letters gives the flags that a getopts string takes, those with a value with a
// colon.
func letters(options string) (found []string) {
	for i, c := range options {
		if c == ':' {
			continue
		}
		flag := string(c)
		if strings.HasPrefix(options[i+1:], ":") {
			flag += ":"
		}
		found = append(found, flag)
	}
	return found
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// TestScriptFlags: what a script takes, what it says of itself, and what its page
// explains are the same flags, and those that want a value have one on the page.
func TestScriptFlags(t *testing.T) {
	for _, p := range all(t) {
		if filepath.Dir(p.file) != "scripts" {
			continue
		}
		script := filepath.Join(tree.Root(), strings.TrimSuffix(p.file, ".8"))
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		help, err := exec.Command(script, "-h").Output()
		if err != nil {
			t.Fatalf("%s -h: %v", script, err)
		}
		var takes, says, page []string
		wants := map[string]bool{}
		for _, m := range getopts.FindAllStringSubmatch(string(text), -1) {
			for _, flag := range letters(m[1]) {
				takes = append(takes, flag[:1])
				wants[flag[:1]] = wants[flag[:1]] || strings.HasSuffix(flag, ":")
			}
		}
		for _, m := range helpLine.FindAllStringSubmatch(string(help), -1) {
			says = append(says, m[1])
		}
		for _, m := range itemFlag.FindAllStringSubmatch(p.text, -1) {
			for _, one := range oneFlag.FindAllStringSubmatch(m[1], -1) {
				page = append(page, one[1])
				if valued := strings.Contains(m[1], " Ar "); valued != wants[one[1]] {
					t.Errorf("%s: -%s: has a value on the page: %v, in getopts: %v", p.file, one[1], valued, wants[one[1]])
				}
			}
		}
		takes, says, page = sorted(append(takes, "h")), sorted(append(says, "h")), sorted(append(page, "h"))
		if !slices.Equal(takes, says) || !slices.Equal(takes, page) {
			t.Errorf("%s: takes %q, says %q, its page explains %q", p.file, takes, says, page)
		}
		for _, m := range bracketed.FindAllStringSubmatch(usageText.FindString(string(help)), -1) {
			for _, c := range m[1] {
				if !slices.Contains(takes, string(c)) {
					t.Errorf("%s: its usage line has -%c, which it does not take", script, c)
				}
			}
		}
	}
}

func TestLetters(t *testing.T) {
	if got, want := letters("hi:k:t"), []string{"h", "i:", "k:", "t"}; !slices.Equal(got, want) {
		t.Errorf("letters = %q, want %q", got, want)
	}
}
