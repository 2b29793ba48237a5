package boottime

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNowAgreesWithUptime(t *testing.T) {
	before := Now()
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	after := Now()
	up, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	// /proc/uptime has two decimals and is cut, not rounded.
	if up < before.Seconds()-0.011 || up > after.Seconds() {
		t.Errorf("uptime %.2f is not between %v and %v", up, before, after)
	}
}

func TestID(t *testing.T) {
	a, err := ID()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := ID()
	if a != b || len(a) != 32 || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("boot id %q, then %q", a, b)
	}
}

func TestSuspendedNeverNegative(t *testing.T) {
	// The two clocks are read one after the other.
	if s := Suspended(); s < -1e9 {
		t.Errorf("suspended for %v", s)
	}
}

// TestClock: both hands of it tell the same time.
func TestClock(t *testing.T) {
	var c Clock
	now := c.Now()
	soon := c.Soon()
	if after := Now(); soon < now || soon > after+time.Millisecond {
		t.Errorf("now %v, soon after %v, then %v", now, soon, after)
	}
}
