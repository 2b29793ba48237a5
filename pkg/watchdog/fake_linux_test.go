package watchdog

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fake is the kernel's side of one watchdog. It decodes what it gets as
// watchdog_dev.c does, complains about anything else, and shows its state in a
// sysfs of its own.
type fake struct {
	t     *testing.T
	mu    sync.Mutex
	calls []string // in words, in order

	sysfs                string // directory of its attributes; "" for a driver without
	number               number
	identity             string
	timeout              int32
	pretimeout, timeleft int32
	shorten              bool // SETPRETIMEOUT sets half of it
	bootstatus           uint32
	round                func(int32) int32 // what SETTIMEOUT makes of a value; nil to take it
	refuse               map[uint]error    // ioctls that fail
	open                 map[int]bool      // descriptor: the magic character was its last write
	wrong                bool              // fstat shows another device
	nowayout             bool
	active               bool
	next                 int
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, sysfs: t.TempDir(), number: misc, identity: "Fake Watchdog", timeout: 30,
		refuse: map[uint]error{unix.WDIOC_GETTIMELEFT: unix.EOPNOTSUPP}, open: map[int]bool{}, next: 7,
	}
	f.show()
	return f
}

func (f *fake) kernel() kernel {
	return kernel{
		primary: f.primary, open: f.opened, ioctl: f.ioctl, write: f.write, close: f.close,
		number: func(fd int) (number, bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			_, ok := f.open[fd]
			if f.wrong {
				return number{1, 3}, ok
			}
			return f.number, ok
		},
		defuse: func(fd int) {
			f.say("defuse %d", fd)
			_ = f.write(fd, []byte("V"))
			_ = f.close(fd)
		},
	}
}

// info is what Inspect would have found.
func (f *fake) info(path string) Info {
	i := Info{Path: path, number: f.number, sysfs: f.sysfs, name: "watchdog0"}
	i.refresh()
	return i
}

func (f *fake) device(path string) (*Device, error) { return f.kernel().openDevice(f.info(path)) }

func (f *fake) say(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, a...))
}

// said gives the calls so far, and forgets them.
func (f *fake) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.calls, "; ")
	f.calls = nil
	return s
}

// fail makes an ioctl fail from now on.
func (f *fake) fail(request uint, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[request] = err
}

func (f *fake) count(call string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

// show writes the sysfs attributes. f.mu is held, or nobody else is there yet.
func (f *fake) show() {
	if f.sysfs == "" {
		return
	}
	state := map[bool]string{true: "active", false: "inactive"}[f.active]
	for name, text := range map[string]string{
		"state": state, "identity": f.identity, "timeout": fmt.Sprint(f.timeout),
		"nowayout": map[bool]string{true: "1", false: "0"}[f.nowayout],
	} {
		if err := os.WriteFile(filepath.Join(f.sysfs, name), []byte(text+"\n"), 0o600); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fake) opened(path string) (int, error) {
	f.say("open %s", path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) > 0 {
		return -1, unix.EBUSY
	}
	fd := f.next
	f.next++
	f.open[fd], f.active = false, true
	f.show()
	return fd, nil
}

// primary does with our descriptor what mdlayher's Open does.
func (f *fake) primary() (handle, string, error) {
	fd, err := f.opened(DefaultPath)
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: DefaultPath, Err: err}
	}
	if err := f.refuse[unix.WDIOC_GETSUPPORT]; err != nil {
		return nil, "", err
	}
	return &node{fd, f.kernel()}, f.identity, nil
}

func (f *fake) ioctl(fd int, request uint, arg []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.open[fd]; !ok {
		f.t.Errorf("ioctl %#x on descriptor %d, which is not open", request, fd)
		return unix.EBADF
	}
	// _IOC: number, type, size, direction (include/uapi/asm-generic/ioctl.h).
	if kind := byte(request >> 8); kind != 'W' {
		f.t.Errorf("ioctl %#x: type %q", request, kind)
	}
	if size := int(request >> 16 & 0x3fff); arg != nil && size != len(arg) {
		f.t.Errorf("ioctl %#x: %d bytes, want %d", request, len(arg), size)
	}
	word := int32(0)
	if len(arg) >= 4 {
		word = int32(binary.NativeEndian.Uint32(arg))
	}
	name := ioctls[byte(request)]
	if strings.HasPrefix(name, "SET") {
		name += fmt.Sprintf(" %d", word)
	}
	f.calls = append(f.calls, name)
	if err := f.refuse[request]; err != nil {
		return err
	}
	if err := f.act(byte(request), word, arg); err != nil {
		return err
	}
	f.show()
	return nil
}

// ioctls names them by their numbers (include/uapi/linux/watchdog.h).
var ioctls = map[byte]string{
	0: "GETSUPPORT", 2: "GETBOOTSTATUS", 4: "SETOPTIONS", 5: "KEEPALIVE", 6: "SETTIMEOUT", 7: "GETTIMEOUT",
	8: "SETPRETIMEOUT", 9: "GETPRETIMEOUT", 10: "GETTIMELEFT",
}

// act does what an ioctl asks for. f.mu is held.
func (f *fake) act(number byte, word int32, arg []byte) error {
	give := func(n uint32) { binary.NativeEndian.PutUint32(arg, n) }
	switch number {
	case 0:
		copy(arg[8:], f.identity)
	case 2:
		give(f.bootstatus)
	case 4: // WDIOS_DISABLECARD
		if word != 1 {
			f.t.Errorf("SETOPTIONS %d", word)
		}
		f.active = false
	case 5:
	case 6:
		f.timeout = word
		if f.round != nil {
			f.timeout = f.round(f.timeout)
		}
		give(uint32(f.timeout))
	case 7:
		give(uint32(f.timeout))
	case 8: // watchdog_dev.c: EINVAL from the timeout on
		if word >= f.timeout {
			return unix.EINVAL
		}
		f.pretimeout = word
		if f.shorten {
			f.pretimeout /= 2
		}
	case 9:
		give(uint32(f.pretimeout))
	case 10:
		give(uint32(f.timeleft))
	default:
		f.t.Errorf("ioctl %d is not known", number)
	}
	return nil
}

func (f *fake) write(fd int, b []byte) error {
	f.say("write %s", b)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.open[fd]; !ok {
		f.t.Errorf("write to descriptor %d, which is not open", fd)
	}
	f.open[fd] = slices.Contains(b, 'V')
	return nil
}

func (f *fake) close(fd int) error {
	f.say("close")
	f.mu.Lock()
	defer f.mu.Unlock()
	magic, ok := f.open[fd]
	if !ok {
		f.t.Errorf("close of descriptor %d, which is not open", fd)
	}
	delete(f.open, fd)
	if magic && !f.nowayout {
		f.active = false
	}
	f.show()
	return nil
}

func (f *fake) armed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active
}

// generous bounds what must come soon, on a machine that is busy otherwise.
const generous = 5 * time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, generous)
		}
	}
}
