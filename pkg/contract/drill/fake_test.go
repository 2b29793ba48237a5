package drill

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/executable"
	"vigil/pkg/gate"
)

// plain is what a host without anything special looks like.
var plain = map[string]string{
	"proc/self/stat":                   "1 (x) R",
	"proc/self/status":                 "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
	"proc/self/limits":                 "Limit                     Soft Limit           Hard Limit           Units\nMax core file size        unlimited            unlimited            bytes\n",
	"proc/self/ns/pid":                 "-> pid:[4026531836]",
	"proc/self/ns/user":                "-> user:[4026531837]",
	"proc/1/comm":                      "init\n",
	"proc/mounts":                      "",
	"proc/sys/kernel/core_pattern":     "core\n",
	"proc/sys/kernel/core_pipe_limit":  "0\n",
	"proc/sys/fs/suid_dumpable":        "2\n",
	"sys/class/watchdog/.keep":         "",
	"dev/.keep":                        "",
	"sys/class/watchdog/watchdog0/dev": "10:130\n",
}

// dog is a watchdog as sysfs has it.
func dog(state, nowayout string) map[string]string {
	const dir = "sys/class/watchdog/watchdog0/"
	return map[string]string{dir + "identity": "Software Watchdog\n", dir + "state": state + "\n", dir + "timeout": "60\n", dir + "nowayout": nowayout + "\n", "dev/watchdog0": "node"}
}

// with gives a copy of a host with more files; an empty name takes a file away.
func with(parts ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, part := range parts {
		for name, text := range part {
			all[name] = text
		}
	}
	return all
}

func file(name, text string) map[string]string { return map[string]string{name: text} }

const (
	handler = "|/usr/local/bin/corecap handler %P %i %s %d %u %g %t %F\n"
	pattern = "proc/sys/kernel/core_pattern"
)

var ours = with(plain, file(pattern, handler), file("usr/local/bin/corecap", "#!"), file("proc/sys/kernel/core_pipe_limit", "16\n"), file("var/lib/vigil/core/.keep", ""))

// hosts are those that cannot be had here.
var hosts = []struct {
	name  string
	files map[string]string
	want  finding
}{
	{"core, unlimited", plain, finding{"corecap", "crashes", "limited", "kernel's own file, core in the directory of who crashes, of unlimited", "corecap pattern -set"}},
	{"core, soft 0", with(plain, file("proc/self/limits", "Max core file size        0                    unlimited            bytes\n")), finding{"corecap", "crashes", "no", "the limit of a core is 0", "ulimit -c unlimited"}},
	{"core, hard 0", with(plain, file("proc/self/limits", "Max core file size        0                    0                    bytes\n")), finding{"corecap", "crashes", "no", "hard limit of a core is 0", "LimitCORE="}},
	{"absolute", with(plain, file(pattern, "/var/crash/core.%p\n")), finding{"corecap", "crashes", "limited", "file, /var/crash/core.%p, of", ""}},
	{"no pattern", with(plain, file(pattern, "\n")), finding{"corecap", "crashes", "no", "core_pattern is empty", "corecap pattern -set"}},
	{"systemd-coredump", with(plain, file(pattern, "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h\n")), finding{"corecap", "crashes", "limited", "systemd-coredump: coredumpctl", "corecap pattern -set"}},
	{"apport", with(plain, file(pattern, "|/usr/share/apport/apport -p%p -s%s\n")), finding{"corecap", "crashes", "limited", "apport: /var/crash", ""}},
	{"another program", with(plain, file(pattern, "|/opt/x y z\n")), finding{"corecap", "crashes", "limited", "go to /opt/x", ""}},
	{"a socket", with(plain, file(pattern, "@/run/coredump\n")), finding{"corecap", "crashes", "limited", "the socket /run/coredump", ""}},
	{"ours", ours, finding{"corecap", "crashes", "ok", "go to /usr/local/bin/corecap", ""}},
	{"ours, gone", with(ours, file("usr/local/bin/corecap", "none")), finding{"corecap", "crashes", "no", "which is not there", "-restore"}},
	{"ours, no limit", with(ours, file("proc/sys/kernel/core_pipe_limit", "0\n")), finding{"corecap", "crashes", "limited", "core_pipe_limit 0", "sysctl -w kernel.core_pipe_limit=16"}},
	{"ours, no spool", with(ours, file("var/lib/vigil/core/.keep", "none")), finding{"corecap", "crashes", "no", "/var/lib/vigil/core is not there", "mkdir -p"}},
	{"ours, outside", with(ours, file("proc/self/ns/pid", "-> pid:[4026532000]")), finding{"corecap", "crashes", "limited", "of the machine outside", "corecap run -spool DIR"}},
	{"setuid", with(plain, file("proc/sys/fs/suid_dumpable", "0\n")), finding{"corecap", "changed user", "limited", "suid_dumpable 0", "fs.suid_dumpable=2"}},
	{"setuid, too", plain, finding{"corecap", "changed user", "ok", "suid_dumpable 2", ""}},

	{"no watchdog", with(plain, file("sys/class/watchdog/watchdog0/dev", "none")), finding{"wdping", "/dev/watchdog", "no", "nothing resets this host", "modprobe softdog"}},
	{"an old driver", with(plain, file("sys/class/watchdog/watchdog0/dev", "none"), file("dev/watchdog", "node")), finding{"wdping", "/dev/watchdog", "limited", "no entry in /sys/class/watchdog", ""}},
	{"no /sys", with(plain, file("sys/class/watchdog/watchdog0/dev", "none"), file("sys/class/watchdog/.keep", "none")), finding{"wdping", "/dev/watchdog", "limited", "/sys is not mounted", "mount -t sysfs"}},
	{"free", with(plain, dog("inactive", "0")), finding{"wdping", "watchdog0", "ok", "free: identity Software Watchdog, state inactive, timeout 60, nowayout 0", ""}},
	{"nowayout", with(plain, dog("inactive", "1")), finding{"wdping", "watchdog0", "limited", "cannot be disarmed", "nowayout=0"}},
	{"no node", with(plain, dog("inactive", "0"), file("dev/watchdog0", "none")), finding{"wdping", "watchdog0", "no", "/dev/watchdog: no such device", "mknod"}},
	{"held by us", with(plain, dog("active", "0"), file("proc/77/fd/3", "-> /dev/watchdog"), file("proc/77/comm", "wdping\n")), finding{"wdping", "watchdog0", "ok", "pinged by wdping (pid 77)", ""}},
	{"held by systemd", with(plain, dog("active", "0"), file("proc/1/fd/30", "-> /dev/watchdog0"), file("proc/1/comm", "systemd\n")), finding{"wdping", "watchdog0", "no", "held by systemd (pid 1)", "RuntimeWatchdogSec=0"}},
	{"held by another", with(plain, dog("active", "0"), file("proc/9/fd/0", "-> /dev/watchdog"), file("proc/9/comm", "watchdogd\n")), finding{"wdping", "watchdog0", "no", "held by watchdogd (pid 9)", "end watchdogd"}},
	{"another one's holder", with(plain, dog("inactive", "0"), file("proc/9/fd/0", "-> /dev/watchdog1"), file("proc/9/comm", "x\n")), finding{"wdping", "watchdog0", "ok", "free", ""}},
	{"held, but by whom", with(plain, dog("active", "0")), finding{"wdping", "watchdog0", "limited", "armed, and who holds it is not seen", ""}},
	{"systemd", with(plain, file("run/systemd/system/.keep", "")), finding{"wdping", "systemd", "ok", "WatchdogSec=", ""}},
	{"no systemd", plain, finding{"wdping", "systemd", "-", "not needed", ""}},

	{"alone", plain, finding{"host", "processes", "ok", "", ""}},
	{"a container", with(plain, file("proc/self/ns/pid", "-> pid:[4026532000]")), finding{"host", "processes", "limited", "pid namespace of its own", "--pid=host"}},
	{"a user namespace", with(plain, file("proc/self/ns/user", "-> user:[4026532000]")), finding{"host", "other users", "limited", "root of this user namespace", ""}},
	{"docker's capabilities", with(plain, file("proc/self/status", "CapEff:\t00000000a80425fb\n")), finding{"host", "other users", "limited", "without CAP_SYS_PTRACE", "--cap-add SYS_PTRACE"}},
}

// TestDoctorReads holds the doctor to hosts of every kind. The programs are not in
// its PATH, so that little is tried.
func TestDoctorReads(t *testing.T) {
	gate.Need(t, "root") // for device nodes
	underEveryShell(t, func(h *host) {
		h.env = append(h.env, "PATH="+os.Getenv("PATH"))
		for _, test := range hosts {
			top := h.in("hosts/" + test.name)
			h.furnish(top, test.files)
			got := h.do([]string{"VIGIL_ROOT=" + top, "NOTIFY_SOCKET="}, h.argv("vigil-doctor", "-t", test.want.tool)...)
			if got.stderr != "" {
				h.Errorf("%s: stderr %q", test.name, got.stderr)
			}
			for _, f := range h.findings(got.stdout) {
				if f.tool != test.want.tool {
					h.Errorf("%s: not asked for: %+v", test.name, f)
				}
			}
			h.has(got, []finding{test.want})
		}
	})
}

// furnish makes files: "-> X" is a link to X, "node" a device that is no watchdog,
// "none" nothing.
func (h *host) furnish(top string, files map[string]string) {
	h.Helper()
	for name, text := range files {
		path := filepath.Join(top, name)
		if text == "none" {
			continue
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch target, link := strings.CutPrefix(text, "-> "); {
		case err != nil:
		case link:
			err = os.Symlink(target, path)
		case text == "node":
			err = syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3) // as /dev/null
		default:
			err = executable.Write(path, []byte(text), 0o755)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}
