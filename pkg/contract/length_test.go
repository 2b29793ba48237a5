package contract

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// Limits beyond which a reader loses the thread. A function or a file may say
// why it is longer, in a comment before it that has the word "long:".
const (
	functionLines = 60
	fileLines     = 400
)

func longFunctions(s source) (found []complaint) {
	s.functions(func(f *ast.FuncDecl) {
		lines := s.fset.Position(f.End()).Line - s.line(f) + 1
		if lines > functionLines && (f.Doc == nil || !strings.Contains(f.Doc.Text(), "long:")) {
			found = append(found, complaint{s.line(f), fmt.Sprintf("%s has %d lines", f.Name.Name, lines)})
		}
	})
	return found
}

var shellFunction = regexp.MustCompile(`^(\w+)\(\) [{(]$`)

func longShellFunctions(s source) (found []complaint) {
	if !strings.HasPrefix(s.text, "#!/bin/sh") {
		return nil
	}
	begin, name := 0, ""
	for i, line := range strings.Split(s.text, "\n") {
		if m := shellFunction.FindStringSubmatch(line); m != nil {
			begin, name = i, m[1]
		}
		if lines := i - begin + 1; (line == "}" || line == ")") && name != "" {
			if lines > functionLines {
				found = append(found, complaint{begin + 1, fmt.Sprintf("%s has %d lines", name, lines)})
			}
			name = ""
		}
	}
	return found
}

func longFiles(s source) []complaint {
	lines := strings.Count(s.text, "\n")
	shell := strings.HasPrefix(s.text, "#!/bin/sh")
	if s.file == nil && !shell || lines <= fileLines {
		return nil
	}
	end := "\npackage "
	if shell {
		end = "\n\n" // the comment at its top
	}
	if head, _, _ := strings.Cut("\n"+s.text, end); strings.Contains(head, "long:") {
		return nil
	}
	return []complaint{{lines, fmt.Sprintf("%d lines", lines)}}
}
