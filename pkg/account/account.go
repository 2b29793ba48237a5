// Package account finds the number of a user or a group by its name, in the
// files of this machine alone: a tool that runs before the network is up asks
// no directory service.
package account

import (
	"io"
	"os"
	"strconv"
	"strings"

	"vigil/pkg/fmt"
)

// Where names are looked up: passwd(5) and group(5).
const (
	usersFile  = "/etc/passwd"
	groupsFile = "/etc/group"
	maxFile    = 1 << 20
)

// User gives the uid of a user, named or given as a number.
func User(name string) (int, error) { return find("user", usersFile, name) }

// Group gives the gid of a group, named or given as a number.
func Group(name string) (int, error) { return find("group", groupsFile, name) }

func find(what, file, name string) (int, error) {
	// The greatest number means "none" to chown(2).
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n < 1<<32-1 {
		return int(n), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text := make([]byte, maxFile)
	size, err := io.ReadFull(f, text)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return 0, err
	}
	if n, ok := lookup(string(text[:size]), name); ok {
		return n, nil
	}
	return 0, fmt.Errorf("%s %q: not in %s", what, name, file)
}

// lookup finds the line "name:password:number:..." of a name.
func lookup(text, name string) (number int, ok bool) {
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		who, rest, _ := strings.Cut(line, ":")
		_, rest, _ = strings.Cut(rest, ":")
		digits, _, _ := strings.Cut(rest, ":")
		n, err := strconv.ParseUint(digits, 10, 32)
		if who == name && name != "" && err == nil && n < 1<<32-1 {
			return int(n), true
		}
	}
	return 0, false
}
