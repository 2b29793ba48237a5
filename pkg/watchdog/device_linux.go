package watchdog

import (
	"errors"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/mdlayher/watchdog"
	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// A handle is what mdlayher's Device does, and what we do for nodes that it
// does not open. Close is a magic close.
type handle interface {
	Ping() error
	Timeout() (time.Duration, error)
	Close() error
}

// kernel is the narrow side of this package: all that reaches a device passes
// through here, in the form in which the kernel gets it.
type kernel struct {
	primary func() (h handle, identity string, err error) // opens DefaultPath
	open    func(node string) (fd int, err error)
	ioctl   func(fd int, request uint, arg []byte) error
	write   func(fd int, b []byte) error
	close   func(fd int) error
	number  func(fd int) (n number, ok bool) // of a character device
	defuse  func(fd int)
}

var system = kernel{
	primary: openPrimary,
	open: func(node string) (int, error) {
		// NONBLOCK for what may have replaced the device since it was looked at.
		return unix.Open(node, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	},
	ioctl:  ioctl,
	write:  func(fd int, b []byte) error { _, err := unix.Write(fd, b); return err },
	close:  unix.Close,
	number: descriptorNumber,
	defuse: defuse,
}

func openPrimary() (handle, string, error) {
	d, err := watchdog.Open()
	if err != nil {
		return nil, "", err // not d: a nil *Device is no nil handle
	}
	return d, d.Identity, nil
}

func ioctl(fd int, request uint, arg []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(arg))))
	if errno != 0 {
		return errno
	}
	return nil
}

// maxDescriptors bounds the search for a descriptor that was opened a moment
// ago and therefore has one of the lowest numbers.
const maxDescriptors = 4096

// find gives the first descriptor of this process, other than except, that is
// the device n; -1 if there is none.
func (k kernel) find(n number, except int) int {
	for fd := range maxDescriptors {
		if m, ok := k.number(fd); ok && m == n && fd != except {
			return fd
		}
	}
	return -1
}

func descriptorNumber(fd int) (number, bool) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}, err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR
}

// defuse closes fd with the magic character and leaves /dev/null under its
// number: an os.File that we cannot reach still means to close that number when
// it is collected, and must not hit a later descriptor of ours.
func defuse(fd int) {
	_, _ = unix.Write(fd, []byte("V"))
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return
	}
	_ = unix.Dup3(null, fd, unix.O_CLOEXEC)
	_ = unix.Close(null)
}

// Device is an open watchdog. It is armed from its opening on. Ping and Disarm must
// not run at the same time. Keep it reachable: the garbage collector would close
// it without the magic character, and T later the machine resets.
type Device struct {
	Info     Info
	Identity string
	handle   handle
	fd       int
	kernel   kernel
}

// openReal opens the device at node, which arms it. When it fails, nothing is
// left armed. EBUSY names who has it.
func openReal(node string) (*Device, error) {
	info, err := Inspect(node)
	if err != nil {
		return nil, err
	}
	d, err := system.openDevice(info)
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%w: held by %s", err, holderNames(info.holders("/proc")))
	}
	return d, err
}

func (k kernel) openDevice(info Info) (*Device, error) {
	d := &Device{Info: info, fd: -1, kernel: k}
	open := d.openNode
	if info.Path == DefaultPath {
		open = d.openPrimary
	}
	if err := open(); err != nil {
		return nil, fmt.Errorf("%s: open: %w", info.Path, cause(err))
	}
	// The node of an old driver may lie where sysfs speaks of a newer one.
	if told := info.attr["identity"]; told != "" && told != d.Identity {
		d.Info.forget()
	}
	return d, nil
}

// errReplaced is for a node that changed between our look and its open.
var errReplaced = errors.New("another device lies there now")

func (d *Device) openPrimary() error {
	inherited := d.kernel.find(d.Info.number, -1)
	h, identity, err := d.kernel.primary()
	d.fd = d.kernel.find(d.Info.number, inherited)
	if err != nil {
		// It may have been opened, and armed, before the identity was refused.
		if d.fd >= 0 {
			d.kernel.defuse(d.fd)
		}
		return err
	}
	if d.fd < 0 {
		_ = h.Close()
		return errReplaced
	}
	d.handle, d.Identity = h, identity
	return nil
}

func (d *Device) openNode() error {
	fd, err := d.kernel.open(d.Info.Path)
	if err != nil {
		return err
	}
	n := &node{fd, d.kernel}
	info := make([]byte, unsafe.Sizeof(unix.WatchdogInfo{}))
	if n, ok := d.kernel.number(fd); !ok || n != d.Info.number {
		err = errReplaced
	} else {
		err = d.kernel.ioctl(fd, unix.WDIOC_GETSUPPORT, info)
	}
	if err != nil {
		_ = n.Close()
		return err
	}
	// struct watchdog_info: options, firmware_version, identity[32].
	d.Identity, _, _ = strings.Cut(string(info[8:]), "\x00")
	d.handle, d.fd = n, fd
	return nil
}

// node is a watchdog other than DefaultPath.
type node struct {
	fd     int
	kernel kernel
}

func (n *node) Ping() error { return n.kernel.ioctl(n.fd, unix.WDIOC_KEEPALIVE, nil) }

func (n *node) Timeout() (time.Duration, error) {
	s, err := n.kernel.integer(n.fd, unix.WDIOC_GETTIMEOUT, 0)
	return time.Duration(s) * time.Second, err
}

func (n *node) Close() error {
	return errors.Join(n.kernel.write(n.fd, []byte("V")), n.kernel.close(n.fd))
}

// Ping starts the timeout anew.
func (d *Device) Ping() error { return d.handle.Ping() }

// gone tells whether there is no device behind the descriptor any more.
func gone(err error) bool { return errors.Is(err, unix.ENODEV) }

// Disarm stops the device by a magic close and gives what the kernel says of it
// afterwards. The Device is used up.
func (d *Device) Disarm() (Outcome, string) {
	accepted := false
	if d.Info.sysfs == "" {
		// Nothing can be read back later, and drivers of that age may know no
		// magic close: ask by ioctl as well.
		_, err := d.kernel.integer(d.fd, unix.WDIOC_SETOPTIONS, unix.WDIOS_DISABLECARD)
		accepted = err == nil
	}
	err := d.handle.Close()
	d.Info.refresh()
	switch d.Info.attr["state"] {
	case "inactive":
		return Disarmed, "disarmed"
	case "active":
		if d.Info.attr["nowayout"] == "1" {
			return Armed, "STILL ARMED (nowayout)"
		}
		if err != nil {
			return Armed, "STILL ARMED (" + err.Error() + ")"
		}
		return Armed, "STILL ARMED"
	}
	if accepted {
		return Unknown, "unknown (the driver took DISABLECARD, but nothing can be read back)"
	}
	return Unknown, "unknown (nothing can be read back)"
}

// cause drops the path that os wraps around an errno: it has been said.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
