package heartbeat

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vigil/pkg/rundir"
)

// gleaned is a record as glean and the parser of everything else see it.
func gleaned(b []byte, id string) (have Record, ok bool, want Record, err error) {
	var rd Reader
	ok = rd.glean(b, id, &have)
	want, err = Parse(b, id)
	want.Msg, want.Metrics, want.Sig = "", nil, ""
	return have, ok, want, err
}

// TestGlean: whatever an Encoder writes is taken the short way.
func TestGlean(t *testing.T) {
	key, err := NewKey([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	full := Record{
		ID: "svc-A-01", PID: 42, Boot: strings.Repeat("0f", 16), StartMS: 1, Seq: 7, TSMS: 1763820000123, BTMS: 86400123,
		IntervalMS: 1000, TTLMS: 9000, Status: Degraded, LateMS: 2, GapMaxMS: 1100, Msg: "all [well]", CRC: true,
		Metrics: []Metric{{"lat_p95", 120}, {"load", -0.25}},
	}
	least := Record{ID: "a", Boot: full.Boot, TTLMS: 1, CRC: true}
	for name, r := range map[string]Record{"full": full, "least": least} {
		for _, k := range []*Key{nil, key} {
			e := Encoder{Key: k}
			b, err := e.AppendBlock(nil, &r, 1024)
			if err != nil {
				t.Fatal(err)
			}
			have, ok, want, err := gleaned(b, r.ID)
			if err != nil || !ok || !reflect.DeepEqual(have, want) {
				t.Errorf("%s: %v, %v\nhave %+v\nwant %+v", name, ok, err, have, want)
			}
			if _, ok, _, _ := gleaned(b, "other"); ok {
				t.Errorf("%s: taken for another id", name)
			}
			for i := range len(b) - 1 { // a torn one
				bad := append([]byte(nil), b...)
				bad[i] ^= 0x10
				if have, ok, want, err := gleaned(bad, r.ID); ok && (err != nil || !reflect.DeepEqual(have, want)) {
					t.Fatalf("%s: byte %d changed: taken as %+v; %v", name, i, have, err)
				}
			}
		}
	}
}

// FuzzGlean: what is taken the short way is what Parse makes of it.
func FuzzGlean(f *testing.F) {
	r := Record{ID: "a", Boot: noBoot, IntervalMS: 1000, Seq: 1, CRC: true}
	b, err := AppendBlock(nil, &r, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	r.PID, r.Status, r.Msg, r.Metrics = 1, Stopping, "x", []Metric{{"q", 17}, {"r", 0.5}}
	if b, err = AppendBlock(nil, &r, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(minimal + " \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The right checksum, without which nothing gets far.
		if i := strings.LastIndex(string(b), crcKey); i >= 0 && len(b) > i+len(crcKey)+9 {
			copy(b[i+len(crcKey)+1:], appendChecksum(nil, b[:i]))
		}
		have, ok, want, err := gleaned(b, "a")
		if ok && (err != nil || !reflect.DeepEqual(have, want)) {
			t.Fatalf("%s\nhave %+v\nwant %+v, %v", b, have, want, err)
		}
	})
}

// TestReaderAllocatesNothing: it reads ten thousands of files a second.
func TestReaderAllocatesNothing(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(filepath.Join(path, "a"+Suffix))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := Record{ID: "a", PID: 42, Boot: noBoot, Seq: 3, IntervalMS: 1000, CRC: true, Msg: "all well", Metrics: []Metric{{"q", 17}}}
	if err := f.Write(&want); err != nil {
		t.Fatal(err)
	}
	d, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var rd Reader
	var r Record
	terms := new(Terms)
	if n := testing.AllocsPerRun(100, func() { err = rd.Read(d, "a", terms, &r) }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
	want.Msg, want.Metrics = "", nil
	if !reflect.DeepEqual(r, want) || rd.Info().Size != Block {
		t.Errorf("have %+v\nwant %+v", r, want)
	}
	if n := testing.AllocsPerRun(100, func() { err = rd.Stat(d, "a") }); n != 0 || err != nil || rd.Info().Size != Block {
		t.Errorf("stat: %v allocations, %v, %+v", n, err, rd.Info())
	}
}

// TestReaderBesideWriter reads a file that is overwritten without a pause: what
// is taken is one whole record. `scripts/bench heartbeat` does so ten million
// times.
func TestReaderBesideWriter(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(filepath.Join(path, "a"+Suffix))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := Record{ID: "a", Boot: noBoot, CRC: true}
	write := func(n int64) error {
		r.PID, r.StartMS, r.Seq, r.TSMS, r.BTMS, r.IntervalMS = int(n), n, uint64(n), n, n, n
		r.Status, r.LateMS, r.GapMaxMS, r.Msg = Status(n%3), n, n, strings.Repeat("x", int(n%64))
		return f.Write(&r)
	}
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	stop, end := make(chan struct{}), make(chan error)
	go func() { end <- restless(write, stop) }()
	d, err := rundir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var rd Reader
	var have Record
	good := 0
	for range 20_000 {
		if err := rd.Read(d, "a", new(Terms), &have); err != nil {
			if rej, ok := err.(*Reject); !ok || !rej.Transient() {
				t.Fatal(err)
			}
			continue
		}
		good++
		n := have.BTMS
		if want := (Record{
			ID: "a", PID: int(n), Boot: noBoot, StartMS: n, Seq: uint64(n), TSMS: n, BTMS: n, IntervalMS: n, Status: Status(n % 3), LateMS: n, GapMaxMS: n, CRC: true,
		}); !reflect.DeepEqual(have, want) {
			t.Fatalf("mixed: %+v", have)
		}
	}
	close(stop)
	if err := <-end; err != nil || good < 10_000 {
		t.Errorf("%v, %d records taken", err, good)
	}
}

// restless writes one beat after the other until told to stop.
func restless(write func(n int64) error, stop <-chan struct{}) error {
	for n := int64(8); ; n += 7 {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := write(n); err != nil {
			return err
		}
	}
}
