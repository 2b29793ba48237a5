package hold

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/rundir"
)

func openDir(t *testing.T) (*rundir.Dir, string) {
	t.Helper()
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func names(t *testing.T, d *rundir.Dir) string {
	t.Helper()
	all, err := d.Names()
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, n := range all {
		if n != lockName {
			shown = append(shown, n)
		}
	}
	return strings.Join(shown, " ")
}

func TestTakeRenewRelease(t *testing.T) {
	d, path := openDir(t)
	l, err := Take(d, "svc", "root", "gdb", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if l.UntilMS-l.SinceMS != 60000 || len(l.Nonce) != 32 {
		t.Errorf("lease %+v", l)
	}
	b, err := os.ReadFile(filepath.Join(path, "svc.hold"))
	if got, perr := Parse(b, "svc"); err != nil || perr != nil || got != l || string(Append(nil, got)) != string(b) {
		t.Errorf("file holds %s, %v, %v", b, err, perr)
	}
	var held *HeldError
	if _, err := Take(d, "svc", "eve", "x", time.Minute); !errors.As(err, &held) || held.Lease != l {
		t.Errorf("second taking: %v", err)
	}
	if err := d.Write("svc.ack.hbwatch", []byte(l.Nonce+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Missing(d, "svc", l.Nonce, []string{"hbwatch", "wdping"}); !reflect.DeepEqual(got, []string{"wdping"}) {
		t.Errorf("missing %v", got)
	}
	if got := Missing(d, "svc", strings.Repeat("0", 32), []string{"hbwatch"}); len(got) != 1 {
		t.Errorf("an acknowledgement of another hold counts: %v", got)
	}

	wrong := strings.Repeat("0", 32)
	if _, err := Renew(d, "svc", wrong, time.Hour); !errors.Is(err, ErrNotYours) {
		t.Errorf("renewal by another: %v", err)
	}
	if _, err := Release(d, "svc", wrong, false); !errors.Is(err, ErrNotYours) || !strings.Contains(err.Error(), "held by root") {
		t.Errorf("release by another: %v", err)
	}
	r, err := Renew(d, "svc", l.Nonce, time.Hour)
	if err != nil || r.SinceMS != l.SinceMS || r.UntilMS < l.SinceMS+3600_000 {
		t.Errorf("renewed %+v, %v", r, err)
	}
	got, err := Release(d, "svc", l.Nonce, false)
	if err != nil || got != r || names(t, d) != "" {
		t.Errorf("released %+v, %v; left: %s", got, err, names(t, d))
	}
	for _, err := range []error{
		second(Release(d, "svc", l.Nonce, false)), second(Release(d, "svc", "", true)), second(Renew(d, "svc", l.Nonce, time.Hour)),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of what is not held: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The hold of x.ack.b is no acknowledgement of a hold on x.
func TestReleaseLeavesOtherHolds(t *testing.T) {
	d, _ := openDir(t)
	l, err := Take(d, "x", "root", "gdb", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(d, "x.ack.b", "root", "gdb", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := Release(d, "x", l.Nonce, false); err != nil || names(t, d) != "x.ack.b.hold" {
		t.Errorf("%v; left: %s", err, names(t, d))
	}
}

func TestForceSaysWhoseItWas(t *testing.T) {
	d, _ := openDir(t)
	l, err := Take(d, "svc", "root", "gdb", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Release(d, "svc", "", true); err != nil || got != l {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTakeRefuses(t *testing.T) {
	d, _ := openDir(t)
	for name, try := range map[string]struct {
		id  string
		ttl time.Duration
	}{
		"id": {"../x", time.Minute}, "ttl": {"svc", -time.Minute}, "long": {"svc", 200 * 366 * 24 * time.Hour},
	} {
		if _, err := Take(d, try.id, "root", "gdb", try.ttl); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if names(t, d) != "" {
		t.Errorf("left: %s", names(t, d))
	}
}

func TestTakeReplacesWhatIsNoHold(t *testing.T) {
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	now := boottime.Now().Milliseconds()
	old := Lease{ID: "svc", Nonce: strings.Repeat("1", 32), Boot: boot, SinceMS: now - 10, UntilMS: now - 1}
	expired := Append(nil, old)
	old.Boot, old.UntilMS = strings.Repeat("2", 32), now+100000
	for name, text := range map[string][]byte{
		"rubbish": []byte("rubbish"), "empty": nil, "expired": expired, "other boot": Append(nil, old),
	} {
		d, _ := openDir(t)
		if err := d.Write("svc.hold", text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Take(d, "svc", "root", "gdb", time.Minute); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTakeHasOneWinner(t *testing.T) {
	d, _ := openDir(t)
	if err := d.Write("svc.hold", []byte("stale"), 0o644); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	won := make(chan Lease, 16)
	for range 16 {
		wg.Go(func() {
			l, err := Take(d, "svc", "root", "gdb", time.Minute)
			var held *HeldError
			switch {
			case err == nil:
				won <- l
			case !errors.As(err, &held):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d winners", len(won))
	}
	if l, err := read(d, "svc"); err != nil || l != <-won {
		t.Errorf("%+v, %v", l, err)
	}
}

// script plays changes of one reader against a simulated clock.
type script struct {
	t *testing.T
	d *rundir.Dir
	r *Reader
}

func newScript(t *testing.T, longest time.Duration) *script {
	d, path := openDir(t)
	r, err := NewReader(path, "hbwatch", longest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &script{t, d, r}
}

func (s *script) put(id string, nonce byte, since, until time.Duration) {
	s.t.Helper()
	l := Lease{ID: id, By: "root", Reason: "gdb", Nonce: strings.Repeat(string(nonce), 32), Boot: s.r.boot, SinceMS: since.Milliseconds(), UntilMS: until.Milliseconds()}
	if err := s.d.Write(id+suffix, Append(nil, l), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) at(now time.Duration, want ...Kind) {
	s.t.Helper()
	changes, err := s.r.Refresh(now)
	if err != nil {
		s.t.Errorf("at %v: %v", now, err)
	}
	var got []Kind
	for _, c := range changes {
		got = append(got, c.Kind)
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Errorf("at %v: changes %v, want %v", now, got, want)
	}
}

func (s *script) active(id string, now time.Duration, want bool) {
	s.t.Helper()
	if _, ok := s.r.Active(id, now); ok != want {
		s.t.Errorf("at %v: %s held is not %v", now, id, want)
	}
}

const minute = time.Minute

func TestReaderLife(t *testing.T) {
	s := newScript(t, time.Hour)
	s.at(99 * minute)
	s.put("svc", 'a', 100*minute, 110*minute)
	s.at(100*minute, Began)
	s.at(101 * minute)
	s.active("svc", 101*minute, true)
	s.active("other", 101*minute, false)
	if b, _, err := s.d.Read("svc.ack.hbwatch", 99); err != nil || string(b) != strings.Repeat("a", 32)+"\n" {
		t.Errorf("acknowledged %q, %v", b, err)
	}
	s.at(108*minute, Ending)
	s.at(108*minute + time.Second)
	s.at(109*minute, Ending)
	s.active("svc", 110*minute, false) // the end counts before any Refresh
	s.at(110*minute, Ended)
	s.at(111 * minute)
	if got := names(t, s.d); got != "svc.hold" {
		t.Errorf("left: %s", got)
	}
}

func TestReaderSeesReleaseRenewalAndSuccession(t *testing.T) {
	s := newScript(t, time.Hour)
	s.put("svc", 'a', 100*minute, 110*minute)
	s.at(108*minute, Began, Ending)
	s.put("svc", 'a', 100*minute, 130*minute)
	s.at(109 * minute)
	s.active("svc", 129*minute, true)
	s.put("svc", 'b', 110*minute, 120*minute)
	s.at(110*minute, Ended, Began)
	if missing := Missing(s.d, "svc", strings.Repeat("b", 32), []string{"hbwatch"}); missing != nil {
		t.Errorf("successor not acknowledged")
	}
	if err := s.d.Remove("svc.hold"); err != nil {
		t.Fatal(err)
	}
	s.at(111*minute, Ended)
	s.active("svc", 111*minute, false)
}

func TestReaderCaps(t *testing.T) {
	s := newScript(t, 10*minute)
	s.put("svc", 'a', 100*minute, 500*minute)
	s.at(100*minute, Began)
	s.active("svc", 109*minute, true)
	s.active("svc", 110*minute, false)
	s.at(110*minute, Ended)
	s.put("svc", 'a', 100*minute, 900*minute) // renewed for ever
	s.at(111 * minute)
	s.active("svc", 111*minute, false)
}

func TestReaderIgnores(t *testing.T) {
	s := newScript(t, time.Hour)
	s.put("future", 'a', 200*minute, 210*minute)
	boot := s.r.boot
	s.r.boot = strings.Repeat("9", 32)
	s.put("foreign", 'a', 100*minute, 110*minute)
	s.r.boot = boot
	if err := s.d.Write(".hidden.hold", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.at(101 * minute)
	for _, id := range []string{"future", "foreign"} {
		s.active(id, 101*minute, false)
	}
	if err := s.d.Write("bad.hold", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("future.hold", filepath.Join(s.d.Path(), "link.hold")); err != nil {
		t.Fatal(err)
	}
	_, err := s.r.Refresh(101 * minute)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "bad.hold") || !strings.Contains(err.Error(), "link.hold") {
		t.Errorf("bad hold: %v", err)
	}
}

func TestHostHoldExcusesAll(t *testing.T) {
	s := newScript(t, time.Hour)
	s.put(Host, 'a', 100*minute, 110*minute)
	s.at(101*minute, Began)
	s.active("anything", 101*minute, true)
}

func TestReaderOutlivesItsDirectory(t *testing.T) {
	s := newScript(t, time.Hour)
	s.put("svc", 'a', 100*minute, 110*minute)
	s.at(101*minute, Began)
	path := s.d.Path()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if changes, err := s.r.Refresh(102 * minute); len(changes) != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed directory: %v, %v", changes, err)
	}
	s.active("svc", 102*minute, true) // a fault does not shoot
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s.d = d
	s.put("svc", 'b', 103*minute, 110*minute)
	s.at(104*minute, Ended, Began)
}

func TestPassingReaderDoesNotAcknowledge(t *testing.T) {
	s := newScript(t, time.Hour)
	s.r.tool = ""
	s.put("svc", 'a', 100*minute, 110*minute)
	s.at(101*minute, Began)
	s.active("svc", 101*minute, true)
	if got := names(t, s.d); got != "svc.hold" {
		t.Errorf("directory holds %s", got)
	}
}

func FuzzParse(f *testing.F) {
	l := Lease{ID: "svc", By: "root", Reason: "gdb \"x\"", Nonce: strings.Repeat("1", 32), Boot: strings.Repeat("2", 32), SinceMS: 5, UntilMS: 6}
	f.Add(Append(nil, l), "svc")
	f.Add([]byte(`{"v":1}`), "svc")
	f.Fuzz(func(t *testing.T, b []byte, id string) {
		l, err := Parse(b, id)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v does not say ErrInvalid", err)
			}
			return
		}
		text := Append(nil, l)
		if again, err := Parse(text, id); err != nil || again != l {
			t.Errorf("%s\nread back as %+v, %v", text, again, err)
		}
		if l.End(time.Hour) > time.Duration(l.SinceMS)*time.Millisecond+time.Hour {
			t.Errorf("ends at %v", l.End(time.Hour))
		}
	})
}
