package child

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const generous = 5 * time.Minute

func sh(script string) Config {
	return Config{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"A=b"}, Limit: generous, Most: 1000}
}

func TestRun(t *testing.T) {
	res, err := Run(nil, sh(`echo out; echo bad >&2; env | sort; pwd; cat; exit 3`))
	want := "out\nA=b\nPATH=" + Path + "\nPWD=/\n/\n"
	if err != nil || res.Status != 3 || string(res.Err) != "bad\n" || res.Cut {
		t.Errorf("%+v, %v", res, err)
	}
	if got := strings.ReplaceAll(string(res.Out), "OLDPWD=/\n", ""); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestDescriptors: nothing that we have is inherited.
func TestDescriptors(t *testing.T) {
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0) // as a shell's 9>file leaves it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	res, err := Run(nil, sh(`test -e /proc/self/fd/`+strconv.Itoa(fd)+` && echo inherited`))
	if err != nil || len(res.Out) > 0 {
		t.Errorf("%q, %v", res.Out, err)
	}
}

func TestMuch(t *testing.T) {
	res, err := Run(nil, sh(`head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2`))
	if err != nil || res.Status != 0 || !res.Cut || !bytes.Equal(res.Out, make([]byte, 1000)) || len(res.Err) != errMost {
		t.Errorf("%d and %d bytes, cut %v, %v", len(res.Out), len(res.Err), res.Cut, err)
	}
}

func TestErrors(t *testing.T) {
	if _, err := Run(nil, Config{Argv: []string{"/nowhere/x"}, Limit: generous}); !errors.Is(err, fs.ErrNotExist) || err.Error() != "/nowhere/x: no such file or directory" {
		t.Error(err)
	}
	if _, err := Run(nil, sh(`kill -9 $$`)); !errors.Is(err, ErrSignal) || err.Error() != "ended by signal 9" {
		t.Error(err)
	}
}

// TestTime: one that does not hear, with a child that does not either, is gone
// afterwards.
func TestTime(t *testing.T) {
	pidfile := t.TempDir() + "/pid"
	c := sh(`trap '' TERM; echo begun; sh -c 'trap "" TERM; echo $$ >` + pidfile + `.new; mv ` + pidfile + `.new ` + pidfile + `; while :; do sleep 1; done' & wait`)
	done := make(chan struct{})
	go func() {
		for deadline := time.Now().Add(generous); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(pidfile); err == nil {
				break
			}
		}
		close(done)
	}()
	begun := time.Now()
	res, err := Run(done, c)
	if !errors.Is(err, ErrTime) || string(res.Out) != "begun\n" || time.Since(begun) < killAfter {
		t.Errorf("%+v, %v", res, err)
	}
	text, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(generous); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("its child lives: %s", stat)
		}
	}
	c = sh("exec sleep 1000")
	c.Limit = 10 * time.Millisecond
	if _, err := Run(nil, c); !errors.Is(err, ErrTime) {
		t.Error(err)
	}
}

// TestKeptOpen: one of its children keeps the pipes; nobody waits for that, and
// it is ended.
func TestKeptOpen(t *testing.T) {
	begun := time.Now()
	res, err := Run(nil, sh(`sleep 1000 & echo $!`))
	if err != nil || time.Since(begun) > generous || len(res.Out) == 0 {
		t.Errorf("%+v, %v", res, err)
	}
}
