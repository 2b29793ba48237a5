package wrap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/contract/executable"
	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

func TestMain(m *testing.M) { tree.Main(m) }

// underEveryShell runs the scripts of a directory under each shell, all at once:
// mostly they wait.
func underEveryShell(t *testing.T, dir string) {
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, testscript.Params{Dir: dir, Setup: func(env *testscript.Env) error { return setup(t, env, shell) }})
		})
	}
}

func TestScripts(t *testing.T) {
	gate.Need(t, "shells")
	underEveryShell(t, "testdata")
}

// A full disk and one that is read-only are real.
func TestRootScripts(t *testing.T) {
	gate.Need(t, "shells", "root", "tmpfs")
	underEveryShell(t, "testdata/root")
}

// Every nc is real: those that know UDP, and that of busybox.
func TestNetScripts(t *testing.T) {
	gate.Need(t, "shells", "netcat")
	underEveryShell(t, "testdata/net")
}

// ports counts those that were tried.
var ports atomic.Int32

// port finds one that is free, over UDP and TCP, on this host alone. The kernel gives
// those below 32768 to nobody who does not ask for one: until it is used, no other
// test gets it.
func port() (string, error) {
	for range 1000 {
		number := strconv.Itoa(20000 + (os.Getpid()*16+int(ports.Add(1)))%12000)
		packets, err := net.ListenPacket("udp", "127.0.0.1:"+number)
		if err != nil {
			continue
		}
		connections, err := net.Listen("tcp", "127.0.0.1:"+number)
		_ = packets.Close()
		if err == nil {
			return number, connections.Close()
		}
	}
	return "", errors.New("no free port")
}

// poll waits for a command to succeed: two minutes, which is no time for a machine
// that is busy.
const poll = `#!/bin/sh
tries=2400
until "$@" >/dev/null 2>&1; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || { echo "not in time: $*" >&2; exit 1; }
	sleep 0.05
done
`

// setup gives a script a run directory and a spool, and commands that run the
// scripts under the shell. Whatever they have started has to end with it.
func setup(t *testing.T, env *testscript.Env, shell []string) error {
	top := tree.Built(t)
	bin := filepath.Join(env.WorkDir, "bin")
	files := map[string]string{"poll": poll}
	for _, name := range []string{"vigil-run", "vigil-cron", "hb-forward"} {
		files[name] = fmt.Sprintf("#!/bin/sh\nexec %s %s/scripts/%s \"$@\"\n", strings.Join(shell, " "), top, name)
	}
	for _, dir := range []string{bin, filepath.Join(env.WorkDir, "spool")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	files["busybox-nc"] = "#!/bin/sh\nexec busybox nc \"$@\"\n"
	number, err := port()
	if err != nil {
		return err
	}
	env.Setenv("PORT", number)
	for name, text := range files {
		if err := executable.Write(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	env.Setenv("PATH", strings.Join([]string{bin, filepath.Join(top, "dist"), filepath.Join(top, "scripts"), env.Getenv("PATH")}, ":"))
	env.Setenv("VIGIL_DIR", filepath.Join(env.WorkDir, "run"))
	env.Setenv("VIGIL_SPOOL", filepath.Join(env.WorkDir, "spool"))
	env.Setenv("SH", strings.Join(shell, " "))
	// Each has its own way with datagrams: under two shells each does either.
	listener, sender := "nc.openbsd", "nc.traditional"
	if shell[0] == "busybox" || shell[0] == "bash" {
		listener, sender = sender, listener
	}
	env.Setenv("LISTENER", listener)
	env.Setenv("SENDER", sender)
	env.Defer(func() { alone(t, env.WorkDir) })
	return os.Chmod(env.WorkDir, 0o755)
}

// alone fails the test for each process that a script has left behind: each has
// the script's directory in its environment.
func alone(t *testing.T, dir string) {
	var left map[int]string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = strays(dir); len(left) == 0 {
			return
		}
	}
	for pid, what := range left {
		t.Errorf("still running: %d %s", pid, what)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func strays(dir string) map[int]string {
	found := map[int]string{}
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range names {
		text, err := os.ReadFile(name)
		pid, bad := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && bad == nil && strings.Contains(string(text), "="+dir+"/run\x00") {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline")) // it may have ended
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}
