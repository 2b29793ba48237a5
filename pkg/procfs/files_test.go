package procfs

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const sampleLimits = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max core file size        0                    unlimited            bytes     
Max open files            1024                 524288               files     
Max nice priority         0                    0                    
`

func TestParseLimits(t *testing.T) {
	got, err := ParseLimits([]byte(sampleLimits))
	want := []Limit{{"cpu", -1, -1}, {"core", 0, -1}, {"nofile", 1024, 524288}, {"nice", 0, 0}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"Max open files            1024\n", "Max open files            x y\n"} {
		if got, err := ParseLimits([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte(sampleLimits))
	f.Fuzz(func(t *testing.T, text []byte) {
		limits, err := ParseLimits(text)
		for _, l := range limits {
			if err == nil && (l.Soft < -1 || l.Hard < -1 || l.Name == "") {
				t.Errorf("%q: %+v", text, l)
			}
		}
	})
}

func TestDescriptors(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	me, mine := os.Getpid(), int(f.Fd())
	fds, more, err := Descriptors(me, 1<<16)
	if err != nil || more || !slices.Contains(fds, mine) {
		t.Errorf("%v, %v, %v", fds, more, err)
	}
	if target, err := Descriptor(me, mine); err != nil || target != "/dev/null" {
		t.Errorf("%q, %v", target, err)
	}
	if few, more, err := Descriptors(me, 2); err != nil || !more || len(few) != 2 {
		t.Errorf("%v, %v, %v", few, more, err)
	}
	if _, err := Descriptor(me, 1<<30); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, _, err := Descriptors(1<<30, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestReadOwnFiles(t *testing.T) {
	me := os.Getpid()
	if limits, err := ReadLimits(me); err != nil || len(limits) != len(limitNames) {
		t.Errorf("%v, %v: want %d rows", limits, err, len(limitNames))
	}
	here, _ := os.Getwd()
	if got, err := WorkingDirectory(me); err != nil || got != here {
		t.Errorf("%q, %v, want %q", got, err, here)
	}
	if io, err := ReadIO(me); err != nil || io.Read == 0 {
		t.Errorf("%+v, %v", io, err)
	}
	whole, cut, err := ReadMaps(me, 1<<20)
	if err != nil || cut || len(whole) < 3 {
		t.Errorf("%d mappings, %v, %v", len(whole), cut, err)
	}
	part, cut, err := ReadMaps(me, 200)
	if err != nil || !cut || len(part) == 0 || len(part) >= len(whole) || part[0] != whole[0] {
		t.Errorf("%v, %v, %v", part, cut, err)
	}
	if r, err := ReadRollup(me); err != nil || r.PSS == 0 || r.PrivateDirty == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Cgroup(me); err != nil {
		t.Error(err)
	}
	if _, err := Cgroup(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestSyscallName compares with what the constants of this architecture say.
func TestSyscallName(t *testing.T) {
	for nr, want := range map[int64]string{
		unix.SYS_READ: "read", unix.SYS_FUTEX: "futex", unix.SYS_EPOLL_PWAIT: "epoll_pwait", unix.SYS_NANOSLEEP: "nanosleep",
		unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_IO_URING_ENTER: "io_uring_enter", unix.SYS_CLONE3: "clone3", unix.SYS_MSEAL: "mseal",
		unix.SYS_EXIT_GROUP: "exit_group", unix.SYS_RT_SIGRETURN: "rt_sigreturn", unix.SYS_RSEQ: "rseq", unix.SYS_WAITID: "waitid",
		-1: "-1", 415: "415", 99999: "99999",
	} {
		if got := SyscallName(nr); got != want {
			t.Errorf("%d: %q, want %q", nr, got, want)
		}
	}
	narrow := "240" // of a program with another table
	if strconv.IntSize == 32 {
		narrow = SyscallName(240)
	}
	for _, tt := range []struct {
		call Syscall
		want string
	}{
		{Syscall{Running: true}, "running"}, {Syscall{Nr: -1}, "none"},
		{Syscall{Nr: unix.SYS_FUTEX, SP: 1 << 40}, "futex"}, {Syscall{Nr: 240, SP: 0xffffd000}, narrow},
	} {
		if got := tt.call.Word(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.call, got, tt.want)
		}
	}
}
