package procfs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const statTail = " S 1 2 3 34816 -1 4194560 9 8 7 6 120 34 -5 6 20 -5 7 0 123456 18446744073709551615 -3"

func TestParseStat(t *testing.T) {
	want := Stat{State: 'S', PID: 42, PPID: 1, PGRP: 2, Session: 3, TTY: 34816, TPGID: -1, Flags: 4194560, MinFlt: 9, MajFlt: 7, UTime: 120, STime: 34,
		CUTime: -5, CSTime: 6, Priority: 20, Nice: -5, Threads: 7, StartTime: 123456, VSize: math.MaxUint64, RSS: -3}
	for name, comm := range map[string]string{
		"plain": "cat", "spaces": "tmux: server", "parentheses": ") R 1 (", "newline": "a\nb", "empty": "", "bytes": "\xff\x1b[2J",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStat([]byte("42 (" + comm + ")" + statTail + " 9 9 9\n"))
			want.Comm = comm
			if err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
	for name, bad := range map[string]string{
		"nothing": "", "no name": "42 cat" + statTail, "no pid": "(cat)" + statTail, "reversed": "42 )(" + statTail,
		"short": "42 (cat) S 1 2", "letters": "42 (cat) S" + strings.Repeat(" x", 30), "long state": "42 (cat) SS" + strings.Repeat(" 1", 30),
	} {
		t.Run(name, func(t *testing.T) {
			var se *SyntaxError
			if got, err := ParseStat([]byte(bad)); !errors.As(err, &se) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	text := "Name:\ta\\nState:\tZ\nState:\tt (tracing stop)\nTgid:\t7\nPid:\t8\nPPid:\t1\nTracerPid:\t99\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n" +
		"NSpid:\t8\t2\nVmRSS:\t    1584 kB\nThreads:\t3\nSigBlk:\tfffffffe7ffbfeff\nSeccomp:\t2\nNoNewPrivs:\t1\nvoluntary_ctxt_switches:\t12\nSomething_new:\tx y\n"
	got, err := ParseStatus([]byte(text))
	want := Status{State: 't', TGID: 7, PID: 8, PPID: 1, TracerPID: 99, UID: [4]int{1, 2, 3, 4}, GID: [4]int{5, 6, 7, 8}, NSPID: []int{8, 2},
		VMRSS: 1584 << 10, Threads: 3, SigBlk: 0xfffffffe7ffbfeff, Seccomp: 2, NoNewPrivs: true, VolCtxt: 12}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, bad := range map[string]struct {
		text string
		line int
	}{
		"nothing":  {"", 0},
		"no state": {"Pid:\t1\n", 1},
		"pid":      {"State:\tS\nPid:\tone\n", 2},
		"uid":      {"State:\tS\nUid:\t1\t2\n", 2},
		"size":     {"State:\tS\nVmRSS:\t12 MB\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			var se *SyntaxError
			if _, err := ParseStatus([]byte(bad.text)); !errors.As(err, &se) || se.Line != bad.line {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParseMaps(t *testing.T) {
	text := "55639c633000-55639c635000 r--p 00002000 fe:0f 247026                     /tmp/a b (deleted)\n" +
		"Size:                  8 kB\nRss:                   8 kB\nShared_Clean: 4 kB\nShared_Dirty: 4 kB\nAnonymous:             4 kB\nSwap:                  0 kB\nVmFlags: rd mr dd \n" +
		"7ffc00000000-7ffc00001000 rw-s 00000000 00:00 0 \n" +
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]"
	got, err := ParseMaps([]byte(text))
	want := []Mapping{
		{Start: 0x55639c633000, End: 0x55639c635000, Perm: "r--p", Offset: 0x2000, DevMajor: 0xfe, DevMinor: 15, Inode: 247026,
			Name: "/tmp/a b (deleted)", RSS: 8192, Anonymous: 4096, Common: 8192, Flags: "rd mr dd"},
		{Start: 0x7ffc00000000, End: 0x7ffc00001000, Perm: "rw-s"},
		{Start: 0xffffffffff600000, End: 0xffffffffff601000, Perm: "--xp", Name: "[vsyscall]"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if m := got[0]; !m.Has("dd") || m.Has("d") || m.Has("rd mr") || m.Size() != 0x2000 || m.Shared() || !got[1].Shared() {
		t.Errorf("methods of %+v", m)
	}
	for name, bad := range map[string]string{
		"range": "2000-1000 r--p 0 0:0 0", "empty range": "1000-1000 r--p 0 0:0 0", "permissions": "1000-2000 r-p 0 0:0 0",
		"offset": "1000-2000 r--p x 0:0 0", "device": "1000-2000 r--p 0 0 0", "inode": "1000-2000 r--p 0 0:0", "orphan": "Rss: 1 kB",
		"count": "1000-2000 r--p 0 0:0 0\nRss: 99999999999999999999 kB", "words": "hello",
	} {
		t.Run(name, func(t *testing.T) {
			var se *SyntaxError
			if got, err := ParseMaps([]byte(bad)); !errors.As(err, &se) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseSyscall(t *testing.T) {
	for text, want := range map[string]Syscall{
		"running\n":                           {Running: true},
		"-1 0x7ffc1000 0x7f00\n":              {Nr: -1, SP: 0x7ffc1000, PC: 0x7f00},
		"232 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8": {Nr: 232, Args: [6]uint64{1, 2, 3, 4, 5, 6}, SP: 7, PC: 8},
	} {
		if got, err := ParseSyscall([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "1 2", "x 0x1 0x2", "1 0x1 zz"} {
		if got, err := ParseSyscall([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
}

func TestReadSelf(t *testing.T) {
	pid := os.Getpid()
	st, err := ReadStat(pid)
	if err != nil || st.PID != pid || st.PPID != os.Getppid() || st.StartTime == 0 || st.Kernel() {
		t.Errorf("stat %+v, %v", st, err)
	}
	status, err := ReadStatus(pid)
	if err != nil || status.PID != pid || status.TGID != pid || status.UID[1] != os.Geteuid() || status.VMRSS == 0 {
		t.Errorf("status %+v, %v", status, err)
	}
	tids, err := Tasks(pid)
	if err != nil || !slices.Contains(tids, pid) || !slices.IsSorted(tids) {
		t.Errorf("tasks %v, %v", tids, err)
	}
	if st, err := ReadTaskStat(pid, tids[len(tids)-1]); err != nil || st.PID != tids[len(tids)-1] {
		t.Errorf("task stat %+v, %v", st, err)
	}
	if st, err := ReadTaskStatus(pid, tids[0]); err != nil || st.PID != tids[0] || st.TGID != pid {
		t.Errorf("task status %+v, %v", st, err)
	}
	maps, err := ReadSmaps(pid)
	if err != nil || len(maps) == 0 {
		t.Errorf("maps %v, %v", maps, err)
	}
	smaps, err := ReadSmaps(pid)
	if err != nil || !slices.ContainsFunc(smaps, func(m Mapping) bool { return m.RSS > 0 && m.Has("rd") }) {
		t.Errorf("smaps %v, %v", smaps, err)
	}
	if args, err := Cmdline(pid); err != nil || !slices.Equal(args, os.Args) {
		t.Errorf("cmdline %q, %v", args, err)
	}
	exe, _ := os.Executable()
	if got, err := Exe(pid); err != nil || got != exe {
		t.Errorf("exe %q, %v", got, err)
	}
	if b, err := Auxv(pid); err != nil || len(b) < 16 {
		t.Errorf("auxv %x, %v", b, err)
	}
	if _, err := CoredumpFilter(pid); err != nil {
		t.Error(err)
	}
	if _, err := Wchan(pid, pid); err != nil {
		t.Error(err)
	}
	if _, err := ReadSyscall(pid, pid); err != nil {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for name, read := range map[string]func() error{
		"stat":    func() error { _, err := ReadStat(pid); return err },
		"status":  func() error { _, err := ReadStatus(pid); return err },
		"maps":    func() error { _, err := ReadSmaps(pid); return err },
		"tasks":   func() error { _, err := Tasks(pid); return err },
		"exe":     func() error { _, err := Exe(pid); return err },
		"wchan":   func() error { _, err := Wchan(pid, pid); return err },
		"process": func() error { _, err := OpenProcess(pid); return err },
	} {
		if err := read(); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "pid") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProcess(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := OpenProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	old := &Process{PID: p.PID, StartTime: p.StartTime, fd: -1} // as on a kernel without pidfd
	reused := &Process{PID: p.PID, StartTime: p.StartTime - 1, fd: -1}
	if p.Exited() || old.Exited() || !reused.Exited() {
		t.Error("a running process has exited")
	}
	stdin.Close()
	for end := time.Now().Add(5 * time.Minute); !p.Exited() || !old.Exited(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its end goes unnoticed")
		}
	}
	p.Wait()
	old.Wait()
	// A zombie: still there, with nothing to read.
	if exe, err := Exe(p.PID); exe != "" || err != nil {
		t.Errorf("exe of a zombie: %q, %v", exe, err)
	}
	if args, err := Cmdline(p.PID); len(args) > 0 || err != nil {
		t.Errorf("cmdline of a zombie: %q, %v", args, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !p.Exited() || !old.Exited() {
		t.Error("a reaped process runs")
	}
}

func TestLimits(t *testing.T) {
	b, cut, err := read(os.Getpid(), "status", 10)
	if len(b) != 10 || !cut || err != nil {
		t.Errorf("got %q, %v, %v", b, cut, err)
	}
	if _, err := readWhole(os.Getpid(), "status", 10); err == nil {
		t.Error("a file that was cut passes as whole")
	}
}

// TestHungReads: a read that hangs is given up, and so many of them cost no more
// than that; once they end, others are made again.
func TestHungReads(t *testing.T) {
	release := make(chan struct{})
	hang := func() ([]byte, bool, error) { <-release; return nil, false, nil }
	for range cap(stuck) {
		if _, _, err := patiently(7, "maps", time.Millisecond, hang); !errors.Is(err, os.ErrDeadlineExceeded) || err.Error() != "pid 7: maps: address space is locked: i/o timeout" {
			t.Error(err)
		}
	}
	_, err := Cmdline(os.Getpid())
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "too many reads hang") {
		t.Error(err)
	}
	close(release)
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		args, err := Cmdline(os.Getpid())
		if err == nil && len(args) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (cat)" + statTail))
	f.Add([]byte("1 (a) b) R"))
	f.Fuzz(func(t *testing.T, b []byte) { ParseStat(b) })
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("State:\tS\nUid:\t1\t2\t3\t4\nVmRSS:\t1 kB\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStatus(b); err == nil && s.State == 0 {
			t.Error("accepted without a state")
		}
	})
}

func FuzzParseMaps(f *testing.F) {
	f.Add([]byte("1000-2000 r--p 0 fe:00 1  /a b\nRss: 4 kB\nVmFlags: rd dd\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		maps, err := ParseMaps(b)
		if err != nil && maps != nil {
			t.Error("both mappings and an error")
		}
		for _, m := range maps {
			if m.Start >= m.End || len(m.Perm) != 4 || len(m.Name) > len(b) {
				t.Errorf("bad mapping %+v", m)
			}
			m.Has("dd")
		}
	})
}

func FuzzParseSyscall(f *testing.F) {
	f.Add([]byte("232 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8"))
	f.Fuzz(func(t *testing.T, b []byte) { ParseSyscall(b) })
}

func TestComm(t *testing.T) {
	pid := os.Getpid()
	st, err := ReadTaskStat(pid, pid)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Comm(pid, pid); err != nil || got != st.Comm {
		t.Errorf("%q, %v, want %q", got, err, st.Comm)
	}
	if _, err := Comm(pid, 1<<30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such thread: %v", err)
	}
}

// On mips there are 128 signals.
func TestStatusOf128Signals(t *testing.T) {
	s, err := ParseStatus([]byte("State:\tS (sleeping)\nSigIgn:\t80000000000000000000000000001000\nSigCgt:\t00000000000000004000000000004002\n"))
	if err != nil || s.SigIgn != 0x1000 || s.SigCgt != 0x4000000000004002 {
		t.Errorf("%#x %#x %v", s.SigIgn, s.SigCgt, err)
	}
}
