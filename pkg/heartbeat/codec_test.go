package heartbeat

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// sample is the record with every member set; sampleText its one text.
func sample() Record {
	return Record{
		ID: "svc-A-01", PID: 4242, Boot: "3f1c9a5200000000000000000000abcd", StartMS: 1763820000000,
		Seq: 1234, TSMS: 1763820000123, BTMS: 86400123, IntervalMS: 5000, TTLMS: 30000, Status: OK,
		LateMS: 2, GapMaxMS: 5100, Msg: "all \"well\"\n", Metrics: []Metric{{"lat_p95", 120}, {"q", -0.25}},
		CRC: true, Sig: strings.Repeat("5f", 32),
	}
}

const sampleText = `{"v":1,"id":"svc-A-01","pid":4242,"boot":"3f1c9a5200000000000000000000abcd","start_ms":1763820000000,` +
	`"seq":1234,"ts_ms":1763820000123,"bt_ms":86400123,"interval_ms":5000,"ttl_ms":30000,"status":"ok","late_ms":2,` +
	`"gap_max_ms":5100,"msg":"all \"well\"\u000a","m":{"lat_p95":120,"q":-0.25},"crc":"42820f43",` +
	`"sig":"5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"}`

// minimal is the shortest record of ours.
const minimal = `{"v":1,"id":"a","boot":"3f1c9a5200000000000000000000abcd","seq":1,"ts_ms":5,"bt_ms":6,"interval_ms":1000,"status":"ok"}`

func appendText(dst []byte, r *Record) ([]byte, error) {
	var e Encoder
	return e.Append(dst, r)
}

func TestAppendAndParse(t *testing.T) {
	r := sample()
	b, err := appendText([]byte("x"), &r)
	if err != nil || string(b) != "x"+sampleText {
		t.Fatalf("have %s, %v\nwant x%s", b, err, sampleText)
	}
	got, err := Parse([]byte(sampleText+"   \n"), "svc-A-01")
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("have %+v, %v\nwant %+v", got, err, r)
	}
}

func TestVia(t *testing.T) {
	for want, via := range map[string]Via{
		`"status":"ok","via":{"id":"far.svc","seq":18446744073709551615},"msg":"x"}`: {ID: "far.svc", Seq: 1<<64 - 1},
		`"status":"ok","via":{"seq":7,"start_ms":1763820000000},"msg":"x"}`:          {Seq: 7, StartMS: 1763820000000},
		`"status":"ok","via":{"seq":0},"msg":"x"}`:                                   {},
	} {
		r, err := Parse([]byte(minimal+"\n"), "a")
		if err != nil {
			t.Fatal(err)
		}
		r.Via, r.Msg = &via, "x"
		line, err := appendText(nil, &r)
		if err != nil || !strings.HasSuffix(string(line), want) {
			t.Errorf("%+v: %s, %v", via, line, err)
		}
		if got, err := Parse(append(line, '\n'), "a"); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v read back as %+v, %v", via, got, err)
		}
	}
}

func TestBlock(t *testing.T) {
	r := sample()
	for _, tt := range []struct {
		msg, size, want int
	}{
		{0, 0, 512}, {0, 512, 512}, {0, 513, 1024}, {0, 4096, 4096},
		{300, 0, 1024}, {1000, 512, 1536}, {3580, 0, 4096},
	} {
		r.Msg = strings.Repeat("m", tt.msg)
		b, err := AppendBlock(nil, &r, tt.size)
		if err != nil || len(b) != tt.want || b[len(b)-1] != '\n' || strings.Count(string(b), "\n") != 1 {
			t.Errorf("msg of %d in at least %d: %d bytes, %v", tt.msg, tt.size, len(b), err)
		}
		if got, err := Parse(b, r.ID); err != nil || got.Msg != r.Msg {
			t.Errorf("msg of %d: read back %v", tt.msg, err)
		}
	}
	r.Msg = strings.Repeat("m", 4000)
	if _, err := AppendBlock(nil, &r, 0); err == nil || !strings.Contains(err.Error(), "want at most 4096") {
		t.Errorf("record over a page: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"id ":        func(r *Record) { r.ID = "../x" },
		"boot":       func(r *Record) { r.Boot = "" },
		"sig":        func(r *Record) { r.Sig = "xyz" },
		"pid":        func(r *Record) { r.PID = -1 },
		"interval":   func(r *Record) { r.IntervalMS, r.TTLMS = 0, 0 },
		"ttl_ms":     func(r *Record) { r.TTLMS = maxMS + 1 },
		"bt_ms":      func(r *Record) { r.BTMS = -1 },
		"status":     func(r *Record) { r.Status = Held + 1 },
		"foreign":    func(r *Record) { r.Foreign = true },
		"16":         func(r *Record) { r.Metrics = make([]Metric, 17) },
		"finite":     func(r *Record) { r.Metrics[0].Value = math.NaN() },
		"a name":     func(r *Record) { r.Metrics[0].Name = "é" },
		"given twic": func(r *Record) { r.Metrics[0].Name = "q" },
	} {
		r := sample()
		spoil(&r)
		if _, err := appendText(nil, &r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(minimal, old, new, 1) + "\n" }
	for _, tt := range []struct {
		name, text string
		reason     Reason
		detail     string
	}{
		{"empty", "", Empty, ""},
		{"blank", strings.Repeat(" ", 511) + "\n", Empty, ""},
		{"garbage", "\x00\x01\x02garbage\n", Malformed, "offset 0"},
		{"text", "hello\n", Malformed, "offset 0"},
		{"cut", minimal[:40], Truncated, "offset 40"},
		{"no line feed", minimal, Truncated, "no line feed"},
		{"5000 bytes", strings.Repeat("x", 5000), Oversize, "4096"},
		{"duplicate key", with(`"seq":1`, `"seq":1,"seq":2`), DuplicateKey, "duplicate"},
		{"duplicate metric", with(`"status"`, `"m":{"a":1,"a":1},"status"`), DuplicateKey, ""},
		{"folded key is another key", with(`"seq":1,`, `"SEQ":1,`), Malformed, "seq: missing"},
		{"nan", with(`"status"`, `"m":{"q":NaN},"status"`), Malformed, ""},
		{"1e999", with(`"status"`, `"m":{"q":1e999},"status"`), NotFinite, `metric "q"`},
		{"1e999 of a foreign beat", `{"q":1e999}` + "\n", NotFinite, "q:"},
		{"wrong id", with(`"id":"a"`, `"id":"b"`), WrongID, `"b"`},
		{"wrong id of a foreign beat", `{"id":"b"}` + "\n", WrongID, `"b"`},
		{"version", with(`"v":1`, `"v":2`), BadVersion, "2"},
		{"version as text", with(`"v":1`, `"v":"1"`), Malformed, "v: want a whole number"},
		{"status", with(`"ok"`, `"Ok"`), Malformed, "status"},
		{"negative time", with(`"bt_ms":6`, `"bt_ms":-6`), Malformed, "bt_ms"},
		{"interval of a thousand years", with(`1000`, `31536000000000`), Malformed, "interval_ms"},
		{"no interval", with(`"interval_ms":1000`, `"interval_ms":0`), Malformed, "interval_ms"},
		{"boot", with(`abcd"`, `abc"`), Malformed, "boot"},
		{"pid", with(`"seq"`, `"pid":4294967296,"seq"`), Malformed, "pid"},
		{"sig not last", with(`"seq"`, `"sig":"`+strings.Repeat("0", 64)+`","seq"`), Malformed, "sig"},
		{"short sig", with(`"ok"}`, `"ok","sig":""}`), Malformed, "sig"},
		{"via with a bad id", with(`"status"`, `"via":{"id":"../x"},"status"`), Malformed, "via: id"},
		{"via with a bad seq", with(`"status"`, `"via":{"seq":-1},"status"`), Malformed, "via"},
		{"via twice", with(`"status"`, `"via":{},"via":{},"status"`), DuplicateKey, ""},
		{"two objects", minimal + minimal + "\n", Malformed, ""},
		{"many metrics", `{"m":{"a":1},` + sixteen() + "}\n", Malformed, "17 metrics"},
		{"torn", strings.Replace(sampleText, `"seq":1234`, `"seq":1235`, 1) + "\n", Torn, "crc"},
		{"crc after white space", strings.Replace(sampleText, `,"crc"`, `, "crc"`, 1) + "\n", Malformed, "crc: white space"},
		{"crc not last", strings.Replace(sampleText, `,"sig"`, `,"x":"y","sig"`, 1) + "\n", Malformed, "crc: is followed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Parse([]byte(tt.text), "a")
			var rej *Reject
			if !errors.As(err, &rej) || rej.Reason != tt.reason || !strings.Contains(rej.Detail, tt.detail) {
				t.Errorf("have %+v, %v; want %v with %q", r, err, tt.reason, tt.detail)
			}
		})
	}
}

func sixteen() string {
	var parts []string
	for i := range 16 {
		parts = append(parts, fmt.Sprintf(`"k%d":1`, i))
	}
	return strings.Join(parts, ",")
}

func TestParseAccepts(t *testing.T) {
	if _, err := Parse([]byte(minimal+"\n"), "a"); err != nil {
		t.Errorf("minimal: %v", err)
	}
	later := strings.Replace(minimal, `"seq"`, `"via":"relay-1","hops":[1],"seq"`, 1) + "\n"
	if r, err := Parse([]byte(later), "a"); err != nil || len(r.Metrics) != 0 {
		t.Errorf("members of a later version: %+v, %v", r, err)
	}
	capitals := strings.Replace(minimal, `"ok"`, `"DEGRADED"`, 1) + "\n"
	if r, err := Parse([]byte(capitals), "a"); err != nil || r.Status != Degraded {
		t.Errorf("capitals: %+v, %v", r, err)
	}
	foreign := `{"id":"svc-A-01","ts":1693140000,"seq":1234,"status":"OK","lat_p95":120}` + "\n"
	want := Record{Foreign: true, ID: "svc-A-01", Seq: 1234, Metrics: []Metric{{"lat_p95", 120}}}
	if r, err := Parse([]byte(foreign), "svc-A-01"); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("foreign: %+v, %v", r, err)
	}
	any := want
	any.ID = ""
	if r, err := Parse([]byte(`{"seq":1234,"lat_p95":120}`), ""); err != nil || !reflect.DeepEqual(r, any) {
		t.Errorf("foreign, of no id: %+v, %v", r, err)
	}
	if r, err := Parse([]byte(foreign), ""); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("foreign, any id: %+v, %v", r, err)
	}
	if r, err := Parse([]byte(minimal+"\n"), ""); err != nil || r.ID != "a" {
		t.Errorf("ours, any id: %+v, %v", r, err)
	}
	if r, err := Parse([]byte(`{}`), "x"); err != nil || r.ID != "x" || !r.Foreign {
		t.Errorf("empty object: %+v, %v", r, err)
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "svc-A_01.x": true, "_host": true, strings.Repeat("a", 64): true,
		"": false, ".a": false, "-a": false, "a/b": false, "a b": false, "é": false, strings.Repeat("a", 65): false,
	} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%q) is not %v", id, want)
		}
	}
	if id, ok := FileID("svc.hb"); id != "svc" || !ok {
		t.Errorf("svc.hb: %q, %v", id, ok)
	}
	for _, name := range []string{"svc", ".hb", "-x.hb", "a.hb.tmp"} {
		if _, ok := FileID(name); ok {
			t.Errorf("%s is taken for a heartbeat", name)
		}
	}
}

// FuzzParse: whatever is taken has one text: appending it and parsing that gives
// the same record and the same bytes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sampleText+"\n"), "svc-A-01")
	f.Add([]byte(minimal+" \n"), "a")
	f.Add([]byte(minimal+" \n"), "")
	f.Add([]byte(`{"id":"b","seq":1,"via":{"seq":"x"}}`), "")
	f.Add([]byte(strings.Replace(minimal, `"ok"`, `"ok","via":{"id":"far","seq":18446744073709551615}`, 1)+"\n"), "a")
	f.Add([]byte(strings.Replace(minimal, `"ok"`, `"ok","via":{}`, 1)+"\n"), "a")
	f.Add([]byte(`{"id":"svc-A-01","ts":1693140000,"seq":1234,"status":"OK","lat_p95":120}`), "svc-A-01")
	f.Add([]byte(strings.Replace(minimal, `"ok"`, `"STARTING","msg":"\ud83d\ude00","m":{"x":1e-7}`, 1)+"\n"), "a")
	f.Fuzz(func(t *testing.T, b []byte, id string) {
		r, err := Parse(b, id)
		if err != nil {
			var rej *Reject
			if !errors.As(err, &rej) {
				t.Fatalf("%v is not a *Reject", err)
			}
			return
		}
		if id != "" && r.ID != id {
			t.Fatalf("record of %q for %q", r.ID, id)
		}
		if r.Foreign {
			return
		}
		one, err := AppendBlock(nil, &r, 0)
		if err != nil {
			if len(b) < MaxSize/6 { // escapes grow a text at most sixfold
				t.Fatalf("taken, but not written: %v", err)
			}
			return
		}
		again, err := Parse(one, id)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%s\nread back as %+v, %v\nwant %+v", one, again, err, r)
		}
		two, err := AppendBlock(nil, &again, 0)
		if err != nil || string(two) != string(one) {
			t.Fatalf("second text %s, %v\nfirst %s", two, err, one)
		}
	})
}
