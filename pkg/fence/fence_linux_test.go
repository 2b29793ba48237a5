package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
	// A program with cgo, as one under the race detector is, cannot do what all its
	// threads have to do at once; vigil's are without.
	fenced := filepath.Join(dir, "fenced")
	build := exec.Command("go", "test", "-c", "-o", fenced, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v: %s", err, out)
	}
	cmd := exec.Command(fenced)
	cmd.Env = append(os.Environ(), "FENCED_IN="+dir)
	want := `read: "text" <nil>
no_new_privs: 1
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
