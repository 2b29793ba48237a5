package host

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var groupCount atomic.Int64

// ControlGroups makes one in each hierarchy that systemd could use, and has
// them removed at the end of the test, with those that systemd has made in them.
func ControlGroups(t testing.TB) (groups []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	name := "vigil-test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(groupCount.Add(1), 10)
	for line := range strings.Lines(string(text)) {
		field, options, _ := strings.Cut(line, " - ")
		where := strings.Fields(field)[4]
		// A process without processors cannot be in a cpuset, and systemd wants none.
		if !strings.HasPrefix(options, "cgroup") || strings.Contains(options, "cpuset") {
			continue
		}
		group := filepath.Join(where, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeGroup(t, group) })
		groups = append(groups, group)
	}
	if len(groups) == 0 {
		t.Fatal("no control groups are mounted")
	}
	return groups
}

// removeGroup removes a control group and all below it. The last process may
// take a moment to leave it.
func removeGroup(t testing.TB, top string) {
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var all []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- {
			err = os.Remove(all[i])
		}
		if err == nil || os.IsNotExist(err) {
			return
		}
	}
	t.Error(err)
}
