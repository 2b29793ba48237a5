package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
)

// A page is a man page of the tree.
type page struct {
	name string // hbsend.8
	file string // relative to the top
	text string
}

// all finds the pages.
func all(t *testing.T) (found []page) {
	t.Helper()
	for _, pattern := range []string{"cmd/*/*.8", "scripts/*.8", "docs/man/*.[1-8]"} {
		names, err := filepath.Glob(filepath.Join(tree.Root(), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := filepath.Rel(tree.Root(), name)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, page{filepath.Base(name), file, string(text)})
		}
	}
	if len(found) < 10 {
		t.Fatalf("%d pages", len(found))
	}
	return found
}

// section gives the text of a section, without its heading.
func (p page) section(title string) string {
	_, rest, _ := strings.Cut("\n"+p.text, "\n.Sh "+title+"\n")
	body, _, _ := strings.Cut(rest, "\n.Sh ")
	return body + "\n"
}

// An example is a literal display.
type example struct {
	text string
	line int // of the page, where it begins
}

// key is the line by which its section is found.
func (e example) key() string {
	for line := range strings.Lines(e.text) {
		if line = strings.TrimSpace(line); line != "" && line != "#!/bin/sh" {
			return line
		}
	}
	return ""
}

// examples gives the literal displays of the section EXAMPLES.
func (p page) examples() (found []example, err error) {
	in, inside := false, false
	for i, line := range strings.Split(p.text, "\n") {
		switch {
		case strings.HasPrefix(line, ".Sh "):
			in = line == ".Sh EXAMPLES"
		case !in:
		case inside && line == ".Ed":
			inside = false
		case inside:
			plain, err := unescape(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", p.file, i+1, err)
			}
			found[len(found)-1].text += plain + "\n"
		case strings.HasPrefix(line, ".Bd -literal"):
			inside = true
			found = append(found, example{line: i + 1})
		case strings.HasPrefix(line, ".Dl "):
			plain, err := unescape(line[4:])
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", p.file, i+1, err)
			}
			found = append(found, example{plain + "\n", i + 1})
		}
	}
	return found, nil
}

// escapes are those of roff that an example may use.
var escapes = [][2]string{{`\(dq`, `"`}, {`\(aq`, `'`}, {`\e`, `\`}, {`\&`, ""}, {`\-`, "-"}}

// unescape gives a line of an example as a reader sees it. A macro has no place in
// a literal display.
func unescape(line string) (string, error) {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return "", fmt.Errorf("a macro in an example: %q: escape it by \\&", line)
	}
	var b strings.Builder
	for line != "" {
		i := slices.IndexFunc(escapes, func(e [2]string) bool { return strings.HasPrefix(line, e[0]) })
		switch {
		case i >= 0:
			b.WriteString(escapes[i][1])
			line = line[len(escapes[i][0]):]
		case line[0] == '\\':
			return "", fmt.Errorf("an escape that unescape does not know: %q", line)
		default:
			b.WriteByte(line[0])
			line = line[1:]
		}
	}
	return b.String(), nil
}

func TestExamplesOfAPage(t *testing.T) {
	p := page{text: ".Sh NAME\n.Bd -literal\nno\n.Ed\n.Sh EXAMPLES\nOne:\n.Bd -literal -offset indent\n#!/bin/sh\na \\e\n  b | tr -d '\\en'\n.Ed\n.Pp\n.Dl c \\(dqd\\(dq\n.Sh FILES\n.Dl e\n"}
	got, err := p.examples()
	want := []example{{"#!/bin/sh\na \\\n  b | tr -d '\\n'\n", 7}, {"c \"d\"\n", 13}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("examples = %v, %v, want %v", got, err, want)
	}
	if key := got[0].key(); key != `a \` {
		t.Errorf("key = %q", key)
	}
	for _, bad := range []string{".Pp", `\fB`, "'br"} {
		if got, err := (page{text: ".Sh EXAMPLES\n.Bd -literal\n" + bad + "\n.Ed\n"}).examples(); err == nil {
			t.Errorf("%q: no complaint, but %v", bad, got)
		}
	}
}
