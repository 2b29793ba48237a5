package contract

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/gate"
)

// crashes makes a spool with three crashes; the second one's program has a name
// that looks like a description.
func crashes(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"web_7_20260301T020304Z.json": `{"schema":"vigil.capture/1","pid":7,"comm":"web","exe":"/usr/bin/web","held":null,"partial":"",` +
			`"crash":{"signal":{"number":11,"name":"SIGSEGV"},"uid":0,"gid":0,"suid_dumpable":1,"number":1}}`,
		"web_7_20260301T020304Z.core":   strings.Repeat("x", 3<<20),
		"web_7_20260301T020304Z.stacks": "PID 7 - web, threads: 2, core core\nTID 7, signal 11:\n#0   0x1 store+0xc (/usr/bin/web)\n#1   0x2 main+0x40 (/usr/bin/web)\nTID 8, signal 11:\n#0   0x3 pause (/lib/libc.so.6)\n",
		"x_8_20260302T000000Z.json": `{"schema":"vigil.capture/1","pid":8,"comm":"\"crash\":{\"signal\":{\"number\":1,\"name\":\"SIGHUP\"","exe":"/tmp/\"pid\":99\u001b[31m x; *","held":{"id":"x","by":"u","reason":"gdb"},"partial":"the disk is full",` +
			`"crash":{"signal":{"number":6,"name":"SIGABRT"},"uid":0,"gid":0,"suid_dumpable":1,"number":12}}`,
		"x_8_20260302T000000Z.core": "",
		// Not crashes.
		"live_9_20260303T000000Z.json": `{"schema":"vigil.capture/1","pid":9,"exe":"/bin/live","held":null,"partial":""}`,
		"bad_10_20260304T000000Z.json": "",
		"other.json":                   `{"crash":{"signal":{"number":11,"name":"SIGSEGV"}}}`,
		"web_0.crashes":                "{}",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCrashTable(t *testing.T) {
	gate.Need(t, "shells")
	dir := crashes(t)
	script := filepath.Join(root, "scripts/vigil-crashes")
	const header = "TIME (UTC)        PROGRAM              PID SIGNAL       MB  WHERE\n"
	const web = "2026-03-01 02:03  web                    7 SIGSEGV       3  store<main\n"
	const x = "2026-03-02 00:00  " + `\"pid\":99\u001b[31m x; *` + "       8 SIGABRT       0  -  (crash 12 in a row partial held)\n"
	for awk, path := range awks(t) {
		for _, shell := range gate.Shells() {
			env := []string{"PATH=" + path + os.Getenv("PATH")}
			table := func(args ...string) result {
				return run(t, env, append(append(slices.Clone(shell), script), args...)...)
			}
			if got := table(dir); got.code != 0 || got.stderr != "" || got.stdout != header+x+web {
				t.Errorf("%s, %s: exit status %d\n%s%swant\n%s", shell, awk, got.code, got.stdout, got.stderr, header+x+web)
			}
			if got := table("-n", "1", "-l", "-p", "web", dir); got.stdout != header+web+"    "+dir+"/web_7_20260301T020304Z.core\n    "+
				dir+"/web_7_20260301T020304Z.json\n    "+dir+"/web_7_20260301T020304Z.stacks\n    gdb /usr/bin/web "+dir+"/web_7_20260301T020304Z.core\n" {
				t.Errorf("%s, %s: -l: %+v", shell, awk, got)
			}
			// The name of that program does not get into a line for a shell.
			if got := table("-n", "1", "-l", dir); !strings.HasSuffix(got.stdout, "\n    gdb -c "+dir+"/x_8_20260302T000000Z.core\n") {
				t.Errorf("%s, %s: -l: %+v", shell, awk, got)
			}
			if got := table("-p", "none", dir); got.code != 1 || got.stdout != "" || got.stderr != "vigil-crashes: no crash of none in "+dir+"\n" {
				t.Errorf("%s, %s: none: %+v", shell, awk, got)
			}
			if got := table(dir + "/no"); got.code != 111 || !strings.Contains(got.stderr, dir+"/no: cannot be read") {
				t.Errorf("%s, %s: no directory: %+v", shell, awk, got)
			}
		}
	}
}
