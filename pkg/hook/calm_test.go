package hook

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/pkg/gate"
)

// schedule puts all threads of this process under a policy.
func schedule(t *testing.T, policy, priority uint32) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err == nil {
			err = unix.SchedSetAttr(tid, &attr, 0)
		}
		if err != nil && err != unix.ESRCH {
			t.Fatal(err)
		}
	}
}

// TestCalm: a hook inherits neither a real-time priority nor the promise to be spared,
// which only who has CAP_SYS_RESOURCE could give here.
func TestCalm(t *testing.T) {
	gate.Need(t, "root")
	const adj = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(adj)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(adj, []byte("-500"), 0); err == nil {
		defer os.WriteFile(adj, before, 0)
	}
	// Field 41 of stat is the policy (proc_pid_stat(5)).
	f := start(t, `
set -- $(cat /proc/$$/stat)
echo "${41}"
cat /proc/$$/oom_score_adj
`, nil)
	schedule(t, unix.SCHED_FIFO, 1)
	f.Submit("a", nil)
	f.Close(generous)
	schedule(t, unix.SCHED_NORMAL, 0)
	if got := strings.Fields(f.read("out")); len(got) != 2 || got[0] != "0" || strings.HasPrefix(got[1], "-") {
		t.Errorf("policy and oom_score_adj %q", got)
	}
}
