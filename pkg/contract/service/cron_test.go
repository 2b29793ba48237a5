package service

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/host"
	"vigil/pkg/gate"
)

// TestCron: a user who has nothing but a crontab. It takes minutes, which are
// spent with waiting.
func TestCron(t *testing.T) {
	t.Parallel()
	gate.Need(t, "root", "tmpfs", "inits")
	t.Run("debian", func(t *testing.T) {
		t.Parallel()
		files := installed(t)
		bring(t, unpacked(t, "cron", "sbin/cron"), files, "usr/local/sbin/cron")
		bring(t, unpacked(t, "cron", "bin/crontab"), files, "usr/local/bin/crontab")
		// It asks PAM who may have jobs.
		put(t, files, "etc/pam.d/cron", "account sufficient pam_permit.so\nsession sufficient pam_permit.so\nauth sufficient pam_permit.so\n", 0o644)
		put(t, files, "etc/crontab", "", 0o644)
		byCron(t, "cron", host.Config{Files: files, Init: []string{"/usr/local/sbin/cron", "-f"}})
	})
	t.Run("busybox", func(t *testing.T) {
		t.Parallel()
		files := installed(t)
		busyboxOnly(t, files)
		byCron(t, "crond", host.Config{Files: files, Alone: true, Init: []string{"/bin/crond", "-f"}})
	})
}

func byCron(t *testing.T, daemon string, config host.Config) {
	// The job that is done at night is done each minute here, once there is work.
	jobs := filepath.Join(config.Files, "usr/local/share/vigil/service/cron/crontab")
	text, err := os.ReadFile(jobs)
	if err != nil {
		t.Fatal(err)
	}
	hourly := strings.Replace(string(text), "\n17 3 * * * ", "\n* * * * * ", 1)
	if hourly == string(text) {
		t.Fatal("cron/crontab: no job at 03:17")
	}
	put(t, config.Files, "usr/local/share/vigil/service/cron/crontab", hourly, 0o644)
	put(t, config.Files, "usr/local/bin/backup", "#!/bin/sh\ntest -e ~/work\n", 0o755)
	// As at a boot later on: a crontab that comes in the second in which cron has
	// looked for them is not noticed.
	config.Init = append([]string{"/bin/sh", "-c", `until [ -e /run/installed ]; do sleep 0.1; done; exec "$@"`, "sh"}, config.Init...)
	c := start(t, config)
	t.Cleanup(func() { t.Logf("log:\n%s\nevents:\n%s", c.h.Text(c.run+"/log"), c.h.Text(c.run+"/events")) })
	c.run, c.user = "/home/web/.vigil/run", uid
	if got := c.h.Run("/bin/sh", "-euc", asUser(steps(t, "cron"))); got.Code != 0 {
		t.Fatalf("exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
	put(t, c.h.Path("/run"), "installed", "", 0o644)
	c.up(c.service(), c.hbsend(), c.diagfifo())
	c.acknowledged("hbsend")
	backup := c.run + "/hb/backup.hb"
	if c.h.Text(backup) != "" {
		t.Error("the job beats, and has not been done")
	}
	put(t, c.h.Path("/home/web"), "work", "", 0o644)
	// All in one minute.
	c.h.Signal(c.find(c.diagfifo()), syscall.SIGKILL)
	c.replaced(c.hbsend())
	c.up(c.diagfifo())
	c.await("the beat of the job", func() bool { return strings.Contains(c.h.Text(backup), `"ttl_ms":93600000`) })
	c.killed()
	c.hung()
	// It may take its 26 hours.
	c.await("hbwatch to see the job", func() bool { return strings.Contains(c.h.Text(c.run+"/events"), " 26h0m ") })
	summary := c.h.Run("/bin/sh", "-c", "cat /home/web/.vigil/incident/web-*/summary.txt")
	if !strings.Contains(summary.Stdout, "complete") {
		t.Errorf("the evidence is %q%s", summary.Stdout, summary.Stderr)
	}
	for _, p := range c.h.Processes() {
		if p.UID == 0 && strings.Contains(strings.Join(p.Args, " "), "vigil") {
			t.Errorf("%q runs as root", p.Args)
		}
	}
	c.h.Run("crontab", "-u", "web", "-r")
	if got := c.h.RunAs(uid, "/bin/sh", "-c", "HOME=/home/web exec /home/web/.vigil/minute stop"); got.Code != 0 {
		t.Errorf("minute stop: exit status %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
	c.gone(daemon)
}

// asUser has commands run by the user web, with what crontab(1) may do for him: it
// is set-uid root where it is installed, and runs as root here.
func asUser(commands string) string {
	lines := strings.Split(strings.TrimSpace(commands), "\n")
	last := lines[len(lines)-1]
	return "HOME=/home/web\n" + strings.Join(lines[:len(lines)-1], "\n") + "\n" + strings.Replace(last, "crontab ", "crontab -u web ", 1) + "\nchown -R web ~web\n"
}
