package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// BenchmarkLate is scripts/bench watchdog: the worst lateness of wdping and of
// other feeders in the same machine, as lines "LATE STRESS FEEDER KEY=VALUE...".
func BenchmarkLate(b *testing.B) {
	gate.Need(b, "vm")
	files := programs(b)
	dir, err := vmtest.Debian("amd64", "watchdog", "libc6")
	if err != nil {
		b.Fatal(err)
	}
	for to, from := range map[string]string{
		"/bin/wd_keepalive":               "sbin/wd_keepalive",
		"/lib64/ld-linux-x86-64.so.2":     "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		"/lib/x86_64-linux-gnu/libc.so.6": "lib/x86_64-linux-gnu/libc.so.6",
	} {
		if files[to], err = os.ReadFile(filepath.Join(dir, from)); err != nil {
			b.Fatal(err)
		}
	}
	s := scenario{script: "compare", driver: softdog, stress: true}
	for b.Loop() {
		m := s.machine(b, files)
		m.Limit = 20 * time.Minute
		got := vmtest.Boot(b, m)
		for _, l := range got.Lines() {
			if strings.HasPrefix(l.Text, "LATE ") {
				fmt.Println(l.Text) // of what a benchmark logs, ten lines are shown
			}
		}
		if got.End != vmtest.Off || !got.Has(`script ended with 0$`) {
			b.Fatalf("end %s\n%s", got.End, got.Console)
		}
	}
}
