package watchdog

import (
	"strings"
	"time"
)

// NotifyMode is what a supervisor is told.
type NotifyMode uint8

// The modes.
const (
	NotifyOff     NotifyMode = iota
	NotifyMain               // as the service itself: READY, STATUS, WATCHDOG, STOPPING
	NotifySidecar            // beside the service: only WATCHDOG
)

// Notifier is the way to a supervisor. *sdnotify.Socket is one. It must not wait.
type Notifier interface{ Send(state string) error }

const feed = "WATCHDOG=1\n"

// notice decides what the supervisor is told, and when. It is pure. What could not
// be sent is tried again at the next wake-up.
type notice struct {
	mode   NotifyMode
	watch  time.Duration // within which it wants a WATCHDOG=1; 0 for never
	status string        // told last
	ready  bool          // told
	fed    time.Duration
	ever   bool
}

// compose gives the datagram due at now, or "". again is the time until the next
// wake-up. The caller tells by sent whether it went out.
func (n *notice) compose(now, again time.Duration, serving, feeds bool, status string) string {
	text := ""
	if n.mode == NotifyMain && serving {
		if !n.ready {
			text += "READY=1\n"
		}
		if status != n.status {
			text += "STATUS=" + status + "\n"
		}
	}
	// The next wake-up must not come later than half the time: then one may fail.
	if n.watch > 0 && serving && feeds && (!n.ever || now+again-n.fed > n.watch/2) {
		text += feed
	}
	return text
}

func (n *notice) sent(now time.Duration, text, status string) {
	n.ready = true
	n.status = status
	if strings.HasSuffix(text, feed) {
		n.ever, n.fed = true, now
	}
}

// stopping is what the supervisor is told at the end, or "".
func (n *notice) stopping() string {
	if n.mode == NotifyMain {
		return "STOPPING=1\n"
	}
	return ""
}

// trigger makes the supervisor act as if the time were over.
func (n *notice) trigger() string {
	if n.watch > 0 {
		return "WATCHDOG=trigger\n"
	}
	return ""
}
