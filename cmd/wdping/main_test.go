package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wdping": main, "listen": listen})
}

// listen ADDRESS FILE is the supervisor's end of -notify: it writes what it gets to
// FILE until it is told to end.
func listen() {
	out, err := os.Create(os.Args[2])
	if err != nil {
		panic(err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: os.Args[1]})
	if err != nil {
		panic(err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt)
	go func() {
		<-end
		c.Close()
	}()
	for b := make([]byte, 4096); ; {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return // told to end
		}
		fmt.Fprintf(out, "%s", b[:n])
	}
}

// No script names a device that could be a watchdog: each -device is none, or
// lies in the script's own directory, or is only asked for its -status.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each program would linger for a second
			// A run directory is its owner's alone, whatever the umask.
			return os.Chmod(env.WorkDir, 0o755)
		},
	})
}
