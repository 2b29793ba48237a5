package watchdog

import (
	"strings"
	"testing"
	"time"
)

// supervised runs the schedule with a wake-up each tick for d, and gives the datagrams
// with the times at which they went out.
func supervised(n *notice, now *time.Duration, d, tick time.Duration, serving, feeds bool, status string, deaf bool) (texts []string, at []time.Duration) {
	for end := *now + d; *now < end; *now += tick {
		text := n.compose(*now, tick, serving, feeds, status)
		if text == "" || deaf {
			continue
		}
		n.sent(*now, text, status)
		texts, at = append(texts, text), append(at, *now)
	}
	return texts, at
}

func TestNoticeMain(t *testing.T) {
	n := &notice{mode: NotifyMain, watch: 2 * time.Second}
	now := time.Hour
	if texts, _ := supervised(n, &now, time.Second, 500*ms, false, true, "", false); texts != nil {
		t.Errorf("told %q before it served", texts)
	}
	// The supervisor is behind: nothing is lost by it.
	if texts, _ := supervised(n, &now, time.Second, 500*ms, true, true, "waiting", true); texts != nil || n.ready {
		t.Errorf("told %q", texts)
	}
	texts, at := supervised(n, &now, 10*time.Second, 500*ms, true, true, "waiting", false)
	if texts[0] != "READY=1\nSTATUS=waiting\nWATCHDOG=1\n" || strings.Join(texts[1:], "") != strings.Repeat(feed, len(texts)-1) {
		t.Errorf("told %q", texts)
	}
	for i := range at[1:] {
		if gap := at[i+1] - at[i]; gap > time.Second || gap < 500*ms {
			t.Errorf("%s between two", gap)
		}
	}
	texts, _ = supervised(n, &now, 10*time.Second, 500*ms, true, false, "starving: a", false)
	if got := strings.Join(texts, ""); got != "STATUS=starving: a\n" {
		t.Errorf("starving, told %q", got)
	}
	if texts, _ := supervised(n, &now, 500*ms, 500*ms, true, true, "feeding", false); texts[0] != "STATUS=feeding\nWATCHDOG=1\n" {
		t.Errorf("recovered, told %q", texts)
	}
	if n.trigger() != "WATCHDOG=trigger\n" || n.stopping() != "STOPPING=1\n" {
		t.Errorf("%q, %q", n.trigger(), n.stopping())
	}
}

// TestNoticeSidecar: a sidecar never speaks for the service.
func TestNoticeSidecar(t *testing.T) {
	n := &notice{mode: NotifySidecar, watch: 3 * time.Second}
	now := time.Hour
	texts, _ := supervised(n, &now, time.Minute, time.Second, true, true, "feeding", false)
	if got := strings.Join(texts, ""); len(texts) < 40 || strings.ReplaceAll(got, feed, "") != "" {
		t.Errorf("%d datagrams: %q", len(texts), got)
	}
	if n.stopping() != "" || n.trigger() == "" {
		t.Errorf("%q, %q", n.stopping(), n.trigger())
	}
}

// TestNoticeUnwatched: without WatchdogSec only readiness is told.
func TestNoticeUnwatched(t *testing.T) {
	n := &notice{mode: NotifyMain}
	now := time.Hour
	texts, _ := supervised(n, &now, time.Minute, time.Second, true, true, "", false)
	if strings.Join(texts, "") != "READY=1\n" || n.trigger() != "" {
		t.Errorf("told %q, %q", texts, n.trigger())
	}
}
