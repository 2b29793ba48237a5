package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/pkg/gate"
)

// The test's own program is what gets fenced in: it cannot be undone.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FENCED_IN"); dir != "" {
		inside(dir)
		return
	}
	os.Exit(m.Run())
}

func inside(dir string) {
	if os.Getenv("FENCED_AS") != "" {
		runtime.LockOSThread()
		err := Become(65534, 65534)
		groups, gerr := os.Getgroups()
		fmt.Println("become:", err, os.Getuid(), os.Geteuid(), os.Getgid(), groups, gerr)
		told, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		var parent int32
		perr := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&parent)), 0, 0, 0)
		fmt.Println("dumpable:", told, "with the parent:", parent, perr)
		return
	}
	if err := Enter(Limits{CPU: 60, Memory: 1 << 30, Written: 4096}); err != nil {
		fmt.Println("enter:", err)
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, "there"))
	fmt.Printf("read: %q %v\n", b, err)
	told := func(what string, err error) {
		fmt.Println(what+":", errors.Is(err, fs.ErrPermission))
	}
	if unix.Prctl(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == nil {
		n, _, _ := syscall.Syscall6(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0)
		fmt.Println("no_new_privs:", n)
	}
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Println("dumpable:", dumpable)
	if os.Getenv("LANDLOCK") != "" {
		_, err = os.Create(filepath.Join(dir, "new"))
		told("create", err)
		_, err = os.OpenFile(filepath.Join(dir, "there"), os.O_WRONLY, 0)
		told("write", err)
		told("remove", os.Remove(filepath.Join(dir, "there")))
		told("mkdir", os.Mkdir(filepath.Join(dir, "d"), 0o700))
		told("execute", exec.Command("/bin/true").Run())
	}
	f := os.NewFile(3, "given")
	_, err = f.Write(make([]byte, 4096))
	fmt.Println("given:", err)
	_, err = f.Write([]byte("x"))
	fmt.Println("too long:", errors.Is(err, syscall.EFBIG))
}

func TestEnter(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	given, err := os.Create(filepath.Join(dir, "given"))
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	cmd := exec.Command(fenced(t, dir))
	cmd.Env = append(os.Environ(), "FENCED_IN="+dir)
	want := `read: "text" <nil>
no_new_privs: 1
dumpable: 0
`
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 && version >= 1 {
		cmd.Env = append(cmd.Env, "LANDLOCK=1")
		want += "create: true\nwrite: true\nremove: true\nmkdir: true\nexecute: true\n"
	}
	want += "given: <nil>\ntoo long: true\n"
	cmd.ExtraFiles = []*os.File{given}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v\n%s\nwant:\n%s", err, out, want)
	}
}

// fenced builds this test. A program with cgo, as one under the race detector is,
// cannot do what all its threads have to do at once; vigil's are without.
func fenced(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "fenced")
	build := exec.Command("go", "test", "-c", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v: %s", err, out)
	}
	return path
}

func TestBecome(t *testing.T) {
	gate.Need(t, "root")
	cmd := exec.Command(fenced(t, t.TempDir()))
	cmd.Env = append(os.Environ(), "FENCED_IN=.", "FENCED_AS=nobody")
	const want = "become: <nil> 65534 65534 65534 [] <nil>\ndumpable: 0 with the parent: 9 <nil>\n"
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant:\n%s", err, out, want)
	}
}
