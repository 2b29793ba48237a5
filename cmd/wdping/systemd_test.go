package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"vigil/pkg/gate"
)

// A service is a unit whose wdping looks at a file of the test.
type service struct {
	*manager
	t    *testing.T
	name string
}

// unit gives the text of a service. A core dump would be the machine's, so it is
// killed by another signal than SIGABRT.
func unit(name, kind, access, limit, main string) string {
	return fmt.Sprintf(`[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=%s
NotifyAccess=%s
WatchdogSec=%s
WatchdogSignal=SIGKILL
Restart=on-watchdog
RestartSec=100ms
TimeoutStartSec=infinity
StandardOutput=append:DIR/%s.out
StandardError=append:DIR/%[4]s.err
ExecStart=%s
`, kind, access, limit, name, main)
}

// feeder is a wdping that has no device, only a condition. The test that shows life
// may itself be kept from it for some seconds.
func feeder(name, flags string) string {
	return "DIR/bin/wdping -device none -hold DIR/hold -fresh " + name + ":DIR/" + name + ".life=15s " + flags
}

// beside gives a service that knows nothing of systemd, with a wdping beside it.
func beside(name string) string {
	return "/bin/sh -c '" + feeder(name, "-notify=sidecar") + " & exec sleep 1000000'"
}

// WatchdogSec where a service has to live: a busy machine must not be the one that
// kills it. Nobody waits for limit: who starves says so. A hold has to outlive
// heldLimit.
const (
	limit     = "2min"
	heldLimit = 10 * time.Second
)

// TestSystemd has a real systemd watch services that wdping speaks for.
func TestSystemd(t *testing.T) {
	gate.Need(t, "systemd")
	m := startSystemd(t, map[string]string{
		"starves.service": unit("starves", "simple", "all", limit, beside("starves")),
		"held.service":    unit("held", "simple", "all", heldLimit.String(), beside("held")),
		"deaf.service":    unit("deaf", "simple", "main", "2s", beside("deaf")),
		"unready.service": unit("unready", "notify", "all", limit, beside("unready")),
		"main.service":    unit("main", "notify", "main", limit, feeder("main", "-notify")),
		"ends.service":    unit("ends", "notify", "main", limit, feeder("ends", "-notify")),
	})
	t.Run("group", func(t *testing.T) {
		// The longest first: they run side by side.
		for _, test := range []struct {
			name  string
			check func(t *testing.T, s service)
		}{{"held", held}, {"starves", starves}, {"main", starves}, {"deaf", deaf}, {"unready", unready}, {"ends", ends}} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.check(t, service{m, t, test.name})
			})
		}
	})
}

func (s service) show(property string) string {
	s.t.Helper()
	return s.do(s.t, "show", "--value", "-p", property, s.name+".service")
}

// told tells whether the service's wdping has told an event n times.
func (s service) told(event string, n int) bool {
	text, _ := os.ReadFile(filepath.Join(s.dir, s.name+".out"))
	return bytes.Count(text, []byte(`"event":"`+event+`"`)) >= n
}

// begin starts the service, with life in its file, and gives what ends that.
func (s service) begin(t *testing.T) (still func()) {
	still = s.alive(t, s.name)
	t.Cleanup(still)
	s.do(t, "start", "--no-block", s.name+".service")
	s.await(t, "wdping to feed", func() bool { return s.told("feeding", 1) })
	return still
}

// A service whose wdping starves is killed, started anew, and left alone then.
func starves(t *testing.T, s service) {
	still := s.begin(t)
	s.await(t, "the service to be up", func() bool { return s.show("ActiveState") == "active" })
	if n := s.show("NRestarts"); n != "0" {
		t.Errorf("restarted %s times while it was fed", n)
	}
	still()
	s.await(t, "a restart", func() bool { return s.show("NRestarts") == "1" })
	if !s.told("starving", 1) {
		t.Error("killed, but not because it starved")
	}
	if !s.log.has(s.name + `\.service: Failed with result 'watchdog'`) {
		t.Error("killed, but not by the watchdog")
	}
	if !s.log.has(s.name + `\.service: Got notification message .*WATCHDOG=trigger`) {
		t.Error("no WATCHDOG=trigger")
	}
	still = s.alive(t, s.name)
	defer still()
	s.await(t, "the new wdping to feed", func() bool { return s.told("feeding", 2) })
	s.await(t, "the service to be up again", func() bool { return s.show("ActiveState") == "active" && s.show("NRestarts") == "1" })
}

// A service under a hold lives on in silence for three times its limit, and is
// killed when the hold has ended.
func held(t *testing.T, s service) {
	still := s.begin(t)
	hold := exec.Command(filepath.Join(s.dir, "bin/diagfifo"), "hold", "-dir", filepath.Join(s.dir, "hold"), "-wait", "wdping", s.name, "5m", "gdb")
	out, err := hold.Output()
	nonce := regexp.MustCompile(`nonce=(\w+)`).FindSubmatch(out)
	if err != nil || nonce == nil {
		t.Fatalf("hold: %v: %s", err, out)
	}
	still()
	time3 := time.Now().Add(3 * heldLimit)
	s.await(t, "three times the limit", func() bool { return time.Now().After(time3) })
	if state, n := s.show("ActiveState"), s.show("NRestarts"); state != "active" || n != "0" {
		t.Errorf("%s, restarted %s times under a hold", state, n)
	}
	if s.told("starving", 1) {
		t.Error("starved under a hold")
	}
	release := exec.Command(filepath.Join(s.dir, "bin/diagfifo"), "release", "-dir", filepath.Join(s.dir, "hold"), "-nonce", string(nonce[1]), s.name)
	if out, err := release.CombinedOutput(); err != nil {
		t.Fatalf("release: %v\n%s", err, out)
	}
	s.await(t, "a restart", func() bool { return s.show("NRestarts") == "1" })
}

// A wdping beside the main process is not heard with NotifyAccess=main.
func deaf(t *testing.T, s service) {
	s.begin(t)
	s.await(t, "a restart", func() bool { n := s.show("NRestarts"); return n != "" && n != "0" })
	if s.told("starving", 1) {
		t.Error("starved, and so proves nothing")
	}
	if !s.log.has(s.name+`\.service: Failed with result 'watchdog'`) || !s.log.has(s.name+`\.service: Got notification message .* reception only permitted for main PID`) {
		t.Error("restarted for another reason")
	}
}

// A wdping beside the main process never says that the service is ready.
func unready(t *testing.T, s service) {
	s.begin(t)
	s.await(t, "word from wdping", func() bool { return s.log.has(s.name + `\.service: Got notification message .*WATCHDOG=1`) })
	if state := s.show("ActiveState"); state != "activating" {
		t.Errorf("%s, but nobody has said that it is ready", state)
	}
	if s.log.has(s.name + `\.service: Got notification message .*(READY|STOPPING)=1`) {
		t.Error("spoke for the main process")
	}
}

// A wdping that is the main process says when it is up and that it ends.
func ends(t *testing.T, s service) {
	s.begin(t)
	s.await(t, "the service to be up", func() bool { return s.show("ActiveState") == "active" })
	if text := s.show("StatusText"); text == "" {
		t.Error("no STATUS")
	}
	s.do(t, "stop", s.name+".service")
	s.await(t, "its end", func() bool { return s.show("ActiveState") == "inactive" })
	if result, code := s.show("Result"), s.show("ExecMainStatus"); result != "success" || code != "0" {
		t.Errorf("ended as %s with %s", result, code)
	}
	if !s.log.has(s.name + `\.service: Got notification message .*STOPPING=1`) {
		t.Error("no STOPPING")
	}
}
