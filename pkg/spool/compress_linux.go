package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/pkg/child"
	"vigil/pkg/fmt"
)

// Compress puts path.gz in the place of the file path, with the same owner, by
// the system's gzip(1), which busybox has, too: what this program would need for
// it weighs 150 kB. On any error path stays as it was, and nothing else is there.
func Compress(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: open: %w", path, err)
	}
	in := os.NewFile(uintptr(fd), path)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: stat: %w", path, err)
	}
	out, err := Create(path + ".gz")
	if err != nil {
		return err
	}
	defer out.Discard()
	err = gzip(in, out.File)
	if err == nil && os.Geteuid() == 0 {
		err = out.Chown(int(st.Uid), int(st.Gid))
	}
	if err != nil {
		return fmt.Errorf("%s: compress: %w", path, err)
	}
	if err := out.Commit(); err != nil {
		return err
	}
	if err := unix.Unlink(path); err != nil {
		return fmt.Errorf("%s: remove: %w", path, err)
	}
	return nil
}

func gzip(in, out *os.File) error {
	program := ""
	for dir := range strings.SplitSeq(child.Path, ":") {
		program = filepath.Join(dir, "gzip")
		if unix.Access(program, unix.X_OK) == nil {
			break
		}
		program = ""
	}
	if program == "" {
		return fmt.Errorf("gzip: %w", fs.ErrNotExist)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(program, []string{"gzip", "-1", "-c"}, &os.ProcAttr{Dir: "/", Env: []string{"PATH=" + child.Path}, Files: []*os.File{in, out, null}})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err != nil {
		return err
	}
	if !state.Success() {
		return errors.New("gzip: " + state.String())
	}
	return nil
}

// Background lets the calling thread, and the programs that it starts, run and
// read only when nobody else wants to.
func Background() {
	const idle = 3 << 13 // IOPRIO_CLASS_IDLE, ioprio_set(2)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, 1, 0, idle)
}
