package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/pkg/boottime"
	"vigil/pkg/gate"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
	"vigil/pkg/watch"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hbwatch": main, "herd": herdMain})
}

func TestScripts(t *testing.T) { scripts(t, "testdata") }

// The full disk and the device are real, so they need a mount and root.
func TestRootScripts(t *testing.T) {
	gate.Need(t, "root", "tmpfs")
	scripts(t, "testdata/root")
}

func scripts(t *testing.T, dir string) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each program would linger for a second
			// A run directory is its owner's alone, whatever the umask.
			return os.Chmod(env.WorkDir, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"beat":  command(beat),
			"beats": command(beats),
			"await": command(await),
			"lease": command(lease),
		},
	})
}

// TestStatesOnThePage: the table of the manual is that of the program.
func TestStatesOnThePage(t *testing.T) {
	page, err := os.ReadFile("hbwatch.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range watch.States {
		row := fmt.Sprintf("\n.It %s Ta %d Ta %s\n", s.Name, s.Code, s.When)
		if !strings.Contains(string(page), row) {
			t.Errorf("the page lacks %q", row)
		}
	}
}

// command makes a command of the scripts. Words with a slash, and those behind
// the first one of await, name files.
func command(f func(file func(string) string, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(f(ts.MkAbs, args)) }
}

// beats beats with the flags of beat until FILE matches PATTERN, for a watcher that
// gets round to looking while the last beat is still fresh, on however busy a machine.
func beats(file func(string) string, args []string) error {
	return attend(file, args, func() error { return beat(file, args[2:]) })
}

// beat writes one record, of a time that the flags choose, into each FILE.
func beat(file func(string) string, args []string) error {
	fs := flag.NewFlagSet("beat", flag.ContinueOnError)
	ago := fs.Duration("ago", 0, "")
	interval := fs.Duration("interval", 100*time.Millisecond, "")
	ttl := fs.Duration("ttl", 0, "")
	status := fs.String("status", "ok", "")
	boot := fs.String("boot", "", "")
	seq := fs.Uint64("seq", 7, "")
	key := fs.String("key", "", "")
	starting := fs.Duration("starting", 0, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	word, err := heartbeat.ParseStatus(*status)
	if err != nil {
		return err
	}
	if *boot == "" {
		if *boot, err = boottime.ID(); err != nil {
			return err
		}
	}
	wall := time.Now().Add(-*ago)
	r := heartbeat.Record{
		PID: 4242, Boot: *boot, Seq: *seq, Status: word, Msg: "\x1b[31mevil\n",
		BTMS: (boottime.Now() - *ago).Milliseconds(), TSMS: wall.UnixMilli(), StartMS: wall.Add(-*starting).UnixMilli(),
		IntervalMS: interval.Milliseconds(), TTLMS: ttl.Milliseconds(),
	}
	for _, name := range fs.Args() {
		path := file(name)
		r.ID, _ = heartbeat.FileID(filepath.Base(path))
		var enc heartbeat.Encoder
		if *key != "" {
			if enc.Key, err = heartbeat.LoadKey(file(*key), r.ID); err != nil {
				return err
			}
		}
		b, err := enc.AppendBlock(nil, &r, 0)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path+".new", b, 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// await waits until FILE matches PATTERN. Its patience is that of a test that
// must not depend on the machine's speed.
func await(file func(string) string, args []string) error {
	return attend(file, args, func() error { return nil })
}

// attend does something now and then until FILE matches PATTERN.
func attend(file func(string) string, args []string, meanwhile func() error) error {
	pattern, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	var b []byte
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if b, _ = os.ReadFile(file(args[1])); pattern.Match(b) {
			return nil
		}
		if err := meanwhile(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: no %q in\n%s", args[1], args[0], b)
}

// lease takes a hold on ID in DIR for TTL, and with TTL 0 releases it.
func lease(file func(string) string, args []string) error {
	d, err := rundir.Open(file(args[0]))
	if err != nil {
		return err
	}
	ttl, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	if ttl == 0 {
		_, err = hold.Release(d, args[1], "", true)
	} else {
		_, err = hold.Take(d, args[1], "root", "gdb", ttl)
	}
	return err
}
