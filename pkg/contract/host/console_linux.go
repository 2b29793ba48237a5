package host

import (
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Console gives the name of a terminal; what is written to it goes to w until
// the test ends. The first process of a system logs to no file and no pipe.
func Console(t testing.TB, w io.Writer) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	// Open here as well, or the reader would see an end whenever nobody else has it.
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, master)
		read <- err
	}()
	t.Cleanup(func() {
		_ = slave.Close()
		<-read // EIO: nobody has it open any more
		_ = master.Close()
	})
	return name
}
