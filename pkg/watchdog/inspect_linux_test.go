package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/cli"
)

// tree makes files under a root: a target beginning with "->" makes a symbolic
// link, one ending with "/" a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(text, "->"); err == nil && ok {
			err = os.Symlink(target, path)
		} else if err == nil && strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// softdog and a second card, as Linux 6.1 shows them.
var twoWatchdogs = map[string]string{
	"dev/char/10:130": "->../../devices/virtual/misc/watchdog",
	"dev/char/249:0":  "->../../devices/virtual/watchdog/watchdog0",
	"dev/char/249:1":  "->../../devices/pci0000:00/0000:00:03.0/watchdog/watchdog1",
	"dev/char/1:3":    "->../../devices/virtual/mem/null",

	"class/watchdog/watchdog0/dev": "249:0\n", "class/watchdog/watchdog0/identity": "Software Watchdog\n",
	"class/watchdog/watchdog0/state": "active\n", "class/watchdog/watchdog0/timeout": "60\n",
	"class/watchdog/watchdog0/min_timeout": "1\n", "class/watchdog/watchdog0/max_timeout": "65535\n",
	"class/watchdog/watchdog0/nowayout": "0\n", "class/watchdog/watchdog0/bootstatus": "32\n",
	"class/watchdog/watchdog0/pretimeout_governor": "\n",

	"class/watchdog/watchdog1/dev": "249:1\n", "class/watchdog/watchdog1/identity": "i6300ESB timer\n",
}

func TestFind(t *testing.T) {
	root := tree(t, twoWatchdogs)
	for _, tt := range []struct {
		number        number
		identity, err string
		all           []number
		missing       bool
	}{
		{number: misc, identity: "Software Watchdog", all: []number{misc, {249, 0}, misc}},
		{number: number{249, 0}, identity: "Software Watchdog", all: []number{{249, 0}, {249, 0}, misc}},
		{number: number{249, 1}, identity: "i6300ESB timer", all: []number{{249, 1}, {249, 1}}},
		{number: number{249, 2}, err: "/dev/x: no driver behind device 249:2: file does not exist", missing: true},
		{number: number{1, 3}, err: "/dev/x: is no watchdog: device 1:3 is null"},
	} {
		i := Info{Path: "/dev/x", number: tt.number}
		err := i.find(root)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err || errors.Is(err, fs.ErrNotExist) != tt.missing {
				t.Errorf("%s: %v, want %s", tt.number, err, tt.err)
			}
			continue
		}
		if err != nil || i.attr["identity"] != tt.identity {
			t.Errorf("%s: %v, %v", tt.number, i.attr, err)
		}
		if got := i.numbers(); len(got) != len(tt.all) || got[len(got)-1] != tt.all[len(got)-1] || got[0] != tt.all[0] {
			t.Errorf("%s: nodes %v, want %v", tt.number, got, tt.all)
		}
	}
}

func TestFindWithoutSysfs(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"not mounted": {},
		"old driver":  {"dev/char/10:130": "->../../devices/virtual/misc/watchdog"},
	} {
		i := Info{Path: DefaultPath, number: misc}
		if err := i.find(tree(t, files)); err != nil || i.sysfs != "" {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
		if got := string(i.text(t.TempDir())); !strings.Contains(got, "sysfs: none") || !strings.Contains(got, "\nholder: none") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestStatusText(t *testing.T) {
	i := Info{Path: "/dev/watchdog", number: misc}
	if err := i.find(tree(t, twoWatchdogs)); err != nil {
		t.Fatal(err)
	}
	proc := tree(t, map[string]string{
		"1/comm": "init\n", "1/fd/0": "->/dev/null", "42/comm": "odd\x1b[1m\n",
		"42/fd/3": "->/proc/self/root/dev/watchdog-gone", "self": "->42", "uptime": "1 2\n",
	})
	want := `device: /dev/watchdog
number: 10:130
identity: Software Watchdog
state: active
timeout: 60 s
min_timeout: 1 s
max_timeout: 65535 s
nowayout: 0
bootstatus: 32 (CARDRESET)
holder: none`
	if got := string(i.text(proc)); !strings.HasPrefix(got, want) {
		t.Errorf("have\n%s\nwant\n%s", got, want)
	}
	// Every process here has /dev/null open, this one for certain.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	i.number, i.sysfs = number{1, 3}, ""
	self := holder{os.Getpid(), ""}
	for _, h := range i.holders("/proc") {
		if h.pid == self.pid {
			self = h
		}
	}
	if self.comm == "" || !strings.Contains(string(i.text("/proc")), "holder: "+self.String()+"\n") {
		t.Errorf("this process is not seen to hold /dev/null: %s", self)
	}
	if got := holderNames([]holder{{1, "a"}, {2, ""}}); got != "pid 1 (a), pid 2" {
		t.Error(got)
	}
}

func TestBootWords(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "0": "0", "32": "32 (CARDRESET)", "33": "33 (OVERHEAT CARDRESET)", "junk": "junk", "128": "128 ()",
	} {
		if got := bootWords(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCheckTimeout(t *testing.T) {
	for _, tt := range []struct {
		least, most string
		t           time.Duration
		ok          bool
	}{
		{"1", "65535", time.Minute, true},
		{"1", "65535", 65536 * time.Second, false},
		{"10", "60", 5 * time.Second, false},
		{"10", "60", 10 * time.Second, true},
		{"0", "0", time.Hour, true}, // iTCO says nothing
		{"", "", time.Hour, true},
		{"x", "-1", time.Hour, true},
	} {
		i := Info{Path: "/dev/watchdog", attr: map[string]string{"min_timeout": tt.least, "max_timeout": tt.most}}
		var usage *cli.UsageError
		if err := i.checkTimeout(tt.t); (err == nil) != tt.ok || !tt.ok && !errors.As(err, &usage) {
			t.Errorf("%s in %q to %q: %v", tt.t, tt.least, tt.most, err)
		}
	}
}

func TestNodeNumber(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		syscall.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("file"), nil, 0o600), os.Mkdir(at("dir"), 0o700),
		os.Symlink("/nowhere", at("dangling")), os.Symlink("/dev/null", at("link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, want     string
		usage, missing bool
	}{
		{"fifo", "is a FIFO, want a watchdog device", true, false},
		{"file", "is a regular file, want a watchdog device", true, false},
		{"dir", "is a directory, want a watchdog device", true, false},
		{"dangling", "dangling symbolic link to /nowhere: no such file or directory", false, true},
		{"missing", "stat: no such file or directory", false, true},
		{"file/under", "stat: not a directory", false, false},
	} {
		_, err := nodeNumber(at(tt.name))
		var usage *cli.UsageError
		if err == nil || err.Error() != at(tt.name)+": "+tt.want || errors.As(err, &usage) != tt.usage || errors.Is(err, fs.ErrNotExist) != tt.missing {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if n, err := nodeNumber(at("link")); err != nil || n != (number{1, 3}) {
		t.Errorf("link to /dev/null: %s, %v", n, err)
	}
}

func TestCheckAccess(t *testing.T) {
	if err := checkAccess(os.DevNull); err != nil {
		t.Error(err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if err := checkAccess(gone); err == nil || err.Error() != gone+": open for writing: no such file or directory" {
		t.Error(err)
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "1:3", "249:0", ":", "1:", "-1:2", "4294967296:1", "1:2:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseNumber(s); ok {
			if again, ok := parseNumber(n.String()); !ok || again != n {
				t.Errorf("%q: %s, again %s", s, n, again)
			}
		}
		_ = bootWords(s)
	})
}
