package crash

import (
	"strings"
	"testing"
	"time"
)

func TestParseEvent(t *testing.T) {
	e, err := ParseEvent(strings.Fields("4242 1 11 1 1000 1001 1700000000 3"))
	want := Event{PID: 4242, TID: 1, Signal: 11, Dumpable: 1, UID: 1000, GID: 1001, Time: time.Unix(1700000000, 0), PIDFD: 3}
	if err != nil || e != want {
		t.Errorf("%+v, %v; want %+v", e, err, want)
	}
	if e, err := ParseEvent(strings.Fields("4242 1 11 2 0 0 1700000000")); err != nil || e.PIDFD != -1 || !e.Private() {
		t.Errorf("without %%F: %+v, %v", e, err)
	}
	if e.Private() {
		t.Error("a dumpable process is private")
	}
	for _, line := range []string{
		"", "1 2 3", "1 2 3 4 5 6 7 8 9", "x 1 11 1 0 0 0", "0 1 11 1 0 0 0", "-1 1 11 1 0 0 0", "5000000 1 11 1 0 0 0",
		"1 1 11 1 0 0 0x10", "1 1 11 1 4294967296 0 0", "1 1 11 1 0 0 99999999999999999999", "1 1 11 1 0 0 0 -3",
	} {
		if e, err := ParseEvent(strings.Fields(line)); err == nil {
			t.Errorf("%q passes for %+v", line, e)
		}
	}
}

func TestNames(t *testing.T) {
	for n, want := range map[int]string{1: "SIGHUP", 6: "SIGABRT", 11: "SIGSEGV", 31: "SIGSYS", 0: "0", 34: "34", -1: "-1"} {
		if got := SignalName(n); got != want {
			t.Errorf("signal %d is %s, want %s", n, got, want)
		}
	}
	for _, test := range []struct {
		signal, code int
		want         string
	}{
		{11, 1, "SEGV_MAPERR"}, {11, 2, "SEGV_ACCERR"}, {7, 2, "BUS_ADRERR"}, {8, 1, "FPE_INTDIV"}, {11, 128, "SI_KERNEL"},
		{6, -6, "SI_TKILL"}, {6, 0, "SI_USER"}, {11, 99, "99"}, {1, 1, "1"}, {11, -99, "-99"},
	} {
		if got := codeName(test.signal, test.code); got != test.want {
			t.Errorf("code %d of signal %d is %s, want %s", test.code, test.signal, got, test.want)
		}
	}
}

func TestParseCause(t *testing.T) {
	info := make([]byte, 128)
	le.PutUint32(info, 11)
	le.PutUint32(info[8:], 1)
	le.PutUint64(info[16:], 0xdeadbeef)
	if c, ok := parseCause(info); !ok || c.address != 0xdeadbeef || !c.hasAddress() || c.sent() {
		t.Errorf("fault: %+v, %v", c, ok)
	}
	le.PutUint32(info, 6)
	le.PutUint32(info[8:], ^uint32(5)) // -6
	le.PutUint32(info[16:], 77)
	le.PutUint32(info[20:], 1000)
	if c, ok := parseCause(info); !ok || c.pid != 77 || c.uid != 1000 || c.hasAddress() || !c.sent() {
		t.Errorf("sent: %+v, %v", c, ok)
	}
	if _, ok := parseCause(info[:31]); ok {
		t.Error("too short passes")
	}
}
