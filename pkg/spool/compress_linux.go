package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/pkg/child"
	"vigil/pkg/fmt"
)

// Compress puts path.gz in the place of the file path, with the same owner, by
// the system's gzip(1), which busybox has, too: what this program would need for
// it weighs 150 kB. On any error path stays as it was, and nothing else is there;
// one is that it would take more of the disk, for a file can be nearly all holes.
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
	// Some file systems keep what is small where no block is counted.
	err = gzip(in, out.File, max(st.Blocks*512, 64<<10))
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
		// Somebody has removed it meanwhile (Remove): then this is not wanted either.
		return fmt.Errorf("%s: remove: %w", path, errors.Join(err, unix.Unlink(path+".gz")))
	}
	return nil
}

func gzip(in, out *os.File, most int64) error {
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
	p, err := os.StartProcess(program, []string{"gzip", "-1", "-c"}, &os.ProcAttr{Dir: "/", Env: []string{"PATH=" + child.Path}, Files: []*os.File{in, out, null}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: uint64(most), Max: uint64(most)}
	err = unix.Prlimit(p.Pid, unix.RLIMIT_FSIZE, &limit, nil)
	if err != nil {
		_ = p.Kill()
	}
	state, werr := p.Wait()
	if err = errors.Join(err, werr); err != nil {
		return err
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signal() == unix.SIGXFSZ {
		return errors.New("it would be larger: left as it is")
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
