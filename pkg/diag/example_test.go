package diag_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"vigil/pkg/diag"
)

// A program that explains itself, and knows a verb of its own.
func Example() {
	dir, err := os.MkdirTemp("", "diag")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	d, err := diag.Start(diag.Config{
		Dir:   filepath.Join(dir, "web"),
		Light: syscall.SIGUSR1,
		Verbs: []diag.Verb{{
			Name: "flush", Help: "write out what is pending", Admin: true,
			Keys: []diag.Key{{Name: "queue", Hint: "NAME", Required: true}},
			Run: func(c diag.Call) (r diag.Reply, err error) {
				if c.Get("queue") != "mail" {
					return r, diag.Usagef("queue %s: there is only mail", c.Get("queue"))
				}
				r.Add("flushed", 17)
				return r, nil
			},
		}},
	})
	if err != nil {
		fmt.Println(err) // and go on: a service does not depend on being explained
		return
	}

	// What a person would type: echo 'flush queue=mail' >web/ctl.admin
	fmt.Print(ask(dir+"/web", "ctl.admin", "flush queue=mail"))
	fmt.Print(ask(dir+"/web", "ctl.admin", "flush queue=news"))
	fmt.Print(ask(dir+"/web", "ctl", "flush queue=mail"))

	if err := d.Close(); err != nil {
		fmt.Println(err)
	}
	_, err = os.Stat(dir + "/web")
	fmt.Println("removed:", errors.Is(err, os.ErrNotExist))
	// Output:
	// q ok flushed=17
	// q err usage queue news: there is only mail
	// q err denied flush: ask at ctl.admin
	// removed: true
}

// The level of a log, for a minute.
func ExampleLogLevel() {
	dir, stop := serve(diag.LogLevel(level))
	defer stop()
	fmt.Print(ask(dir, "ctl.admin", "loglevel"))
	fmt.Print(ask(dir, "ctl.admin", "loglevel level=DEBUG for=1m"))
	fmt.Println(level.Level())
	fmt.Print(ask(dir, "ctl.admin", "loglevel level=loud"))
	// Output:
	// q ok level=INFO
	// q ok level=DEBUG returns_to=INFO
	// DEBUG
	// q err usage level loud: slog: level string "loud": unknown name
}

var level = new(slog.LevelVar)

// Counters, one to a line; a configuration would be told in the same way.
func ExampleText() {
	counters := diag.Text("counters", "what was served", func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "requests %d\nerrors %d\n", 1200, 3)
		return err
	})
	dir, stop := serve(counters)
	defer stop()
	fmt.Print(ask(dir, "ctl", "counters"))
	// Output:
	// q ok bytes=23
	// requests 1200
	// errors 3
}

// A drill: the program lives, and says nothing.
func ExampleMute() {
	var mute diag.Mute
	dir, stop := serve(mute.Verb())
	defer stop()
	beat := func() {
		if !mute.Muted() {
			fmt.Println("beat") // to a file: see hbsend(8)
		}
	}
	beat()
	ask(dir, "ctl.admin", "disable-heartbeat for=10m")
	beat()
	fmt.Print(ask(dir, "ctl.admin", "disable-heartbeat for=0s"))
	beat()
	// Output:
	// beat
	// q ok left_ms=0
	// beat
}

// serve is Start with one verb, in a directory of its own.
func serve(v diag.Verb) (dir string, stop func()) {
	parent, err := os.MkdirTemp("", "diag")
	if err != nil {
		panic(err)
	}
	d, err := diag.Start(diag.Config{Dir: parent + "/x", Verbs: []diag.Verb{v}})
	if err != nil {
		panic(err)
	}
	return parent + "/x", func() {
		_ = d.Close()
		_ = os.RemoveAll(parent)
	}
}

// ask does what a client without any program does: it writes a line that wants
// its answer in the file r/q, and waits for that.
func ask(dir, fifo, command string) string {
	f, err := os.OpenFile(filepath.Join(dir, fifo), os.O_WRONLY, 0)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "\n@q:f %s\n", command); err != nil {
		return err.Error()
	}
	answer := filepath.Join(dir, "r", "q")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if text, err := os.ReadFile(answer); err == nil {
			_ = os.Remove(answer)
			return string(text)
		}
	}
	return "no answer\n"
}
