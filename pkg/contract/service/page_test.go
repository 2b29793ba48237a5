package service

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

var (
	named    = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	declared = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
)

// TestPageNamesItsTests: the page's proofs exist, and no test of an init is left
// out; each directory of examples has its section.
func TestPageNamesItsTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(tree.Root(), "docs/service.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range named.FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = true
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "TestMain" && m[1] != "TestPageNamesItsTests" && !told[m[1]] {
				t.Errorf("docs/service.md: does not name %s", m[1])
			}
			delete(told, m[1])
		}
	}
	for name := range told {
		t.Errorf("docs/service.md: names %s, which there is not", name)
	}
	examples, err := os.ReadDir(filepath.Join(tree.Root(), "scripts/service"))
	if err != nil || len(examples) == 0 {
		t.Fatal(err)
	}
	for _, dir := range examples {
		if !strings.Contains(strings.ToLower(string(page)), "\n## "+dir.Name()) && !strings.Contains(string(page), "\n## A "+dir.Name()) {
			t.Errorf("docs/service.md: no section for %s", dir.Name())
		}
	}
}
