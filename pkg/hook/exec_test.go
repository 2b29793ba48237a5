package hook

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestExecHangs: the file of the hook does not open, as on a disk that is gone:
// here because of a lease that its holder does not give up (fcntl(2),
// F_SETLEASE). Nobody waits for it but the run itself.
func TestExecHangs(t *testing.T) {
	answers := make(chan Answer, 10)
	f := start(t, `exit 4`, func(c *Config) {
		c.Timeout = 500 * time.Millisecond
		c.Answered = func(_ string, a Answer) { answers <- a }
	})
	file, err := os.Open(filepath.Join(f.dir, "hook"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	// One processor, as hbsend and wdping have, and a goroutine that notices when it
	// is taken away. The kernel gives up on a lease after 45 seconds.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f.Submit("a", nil)
	if a := <-answers; a.Fault() != "stopped after 500ms" {
		t.Errorf("%+v", a)
	}
	f.Submit("a", nil)
	if n := f.Close(0); n > 1 {
		t.Errorf("%d runs dropped", n)
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Error(err)
	}
	eventually(t, "no child", func() bool {
		_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		return err == syscall.ECHILD
	})
}
