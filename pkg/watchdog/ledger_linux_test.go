package watchdog

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func opened(t *testing.T, name string) *Ledger {
	t.Helper()
	l, err := OpenLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l := opened(t, name)
	if _, err := OpenLedger(name); err == nil || !strings.Contains(err.Error(), "ledger: lock: another process has it") {
		t.Errorf("a second one: %v", err)
	}
	for _, m := range []Mark{Started, ArmedNow, Starving} {
		if err := l.Add(&Entry{Boot: bootA, Mark: m}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The machine went down in the middle of a line.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(`{"v":1,"ev`)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	l = opened(t, name)
	if len(l.entries) != 3 || l.bad != 0 || !l.torn {
		t.Errorf("%+v", l)
	}
	if err := l.Add(&Entry{Boot: bootB, Mark: Safe}); err != nil {
		t.Fatal(err)
	}
	entries, err := ReadLedger(name)
	if err != nil || len(entries) != 4 || entries[3].Mark != Safe {
		t.Errorf("%+v, %v", entries, err)
	}
}

// TestLedgerIsBounded: whatever happens the file stays small, keeps its newest lines
// and its lock, and what it was replaced by is no other's.
func TestLedgerIsBounded(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "ledger")
	if err := os.Symlink("/nowhere", name+".new"); err != nil {
		t.Fatal(err)
	}
	l := opened(t, name)
	e := Entry{Boot: bootA, Mark: Starving, Reason: strings.Repeat("x", maxReason)}
	for i := range 400 {
		e.TimeMS = int64(i)
		if err := l.Add(&e); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(name); err != nil || st.Size() > maxLedger || st.Size() != l.size {
			t.Fatalf("line %d: %d bytes, counted %d, %v", i, st.Size(), l.size, err)
		}
	}
	if _, err := OpenLedger(name); err == nil {
		t.Error("the new file is not locked")
	}
	entries, err := ReadLedger(name)
	if err != nil || len(entries) < 90 || entries[len(entries)-1].TimeMS != 399 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	for i := range entries[1:] {
		if entries[i+1].TimeMS != entries[i].TimeMS+1 {
			t.Errorf("entry %d: time %d after %d", i, entries[i+1].TimeMS, entries[i].TimeMS)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// TestLedgerCannotBeShortened: there is room for as much again.
func TestLedgerCannotBeShortened(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l := opened(t, name)
	if err := os.Mkdir(name+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	e := Entry{Boot: bootA, Mark: Starving, Reason: strings.Repeat("x", maxReason)}
	var err error
	for err == nil && l.size <= 2*maxLedger {
		err = l.Add(&e)
	}
	if err == nil || l.size > 2*maxLedger || l.size < 2*maxLedger-maxEntry || !strings.Contains(err.Error(), name+": ledger: shorten: file exists") {
		t.Errorf("%d bytes, %v", l.size, err)
	}
}

func TestLedgerRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		syscall.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("open"), nil, 0o600), os.Chmod(at("open"), 0o662), os.Mkdir(at("dir"), 0o700),
		os.WriteFile(at("large"), make([]byte, 2*maxLedger+1), 0o600), os.Symlink(at("there"), at("link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"fifo", "want a regular file"},
		{"dir", "want a regular file"},
		{"open", "mode 0662, want no write right for group and others"},
		{"large", "131073 bytes, want at most 131072: is it a ledger?"},
		{"no/such", "open: no such file or directory"},
	} {
		if _, err := OpenLedger(at(tt.name)); err == nil || err.Error() != at(tt.name)+": ledger: "+tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := OpenLedger("/dev/null"); err == nil || err.Error() != "/dev/null: ledger: want a regular file" {
		t.Error(err)
	}
	// A link is the operator's, and followed.
	l := opened(t, at("link"))
	if err := l.Add(&Entry{Boot: bootA, Mark: Started}); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(at("there")); err != nil || len(text) == 0 {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadLedger(at("missing")); err == nil {
		t.Error("a missing one was read")
	}
}

// TestLedgerWriteFails: on a full disk the line is lost, and the next one begins anew.
func TestLedgerWriteFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l := opened(t, name)
	e := Entry{Boot: bootA, Mark: Started}
	if err := l.Add(&e); err != nil {
		t.Fatal(err)
	}
	keep, err := unix.Dup(l.fd)
	if err != nil {
		t.Fatal(err)
	}
	full(t, l)
	if err := l.Add(&e); err == nil || err.Error() != name+": ledger: write: no space left on device" {
		t.Error(err)
	}
	if err := unix.Dup3(keep, l.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(keep)
	if err := l.Add(&e); err != nil {
		t.Error(err)
	}
	if entries, err := ReadLedger(name); err != nil || len(entries) != 2 {
		t.Errorf("%+v, %v", entries, err)
	}
}
