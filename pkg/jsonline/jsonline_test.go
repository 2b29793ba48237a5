package jsonline

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestWriter(t *testing.T) {
	var w Writer
	w.Object("")
	w.Str("s", "a\"b\\c\nd\x7fé\xff")
	w.Int("i", -7)
	w.Uint("u", math.MaxUint64)
	w.Float("f", 1.5)
	w.Float("nan", math.NaN())
	w.Bool("b", true)
	w.Null("z")
	w.Array("a")
	w.Int("", 1)
	w.Object("")
	w.End()
	w.Raw("", []byte(`[2]`))
	w.End()
	w.End()
	want := `{"s":"a\"b\\c\u000ad\u007fé` + "\uFFFD" + `","i":-7,"u":18446744073709551615,"f":1.5,"nan":null,"b":true,"z":null,"a":[1,{},[2]]}`
	if string(w.Bytes()) != want {
		t.Errorf("have %s\nwant %s", w.Bytes(), want)
	}
	if !json.Valid(w.Bytes()) {
		t.Error("encoding/json refuses it")
	}
	w.Reset()
	w.Object("")
	w.End()
	if string(w.Bytes()) != "{}" {
		t.Errorf("after Reset: %s", w.Bytes())
	}
}

func TestAppendTime(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000Z"
	for _, text := range []string{
		"1970-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "2000-02-29T12:34:56.789Z", "2025-11-22T14:00:00.123Z",
		"1900-03-01T00:00:00.001Z", "2100-02-28T23:59:59.000Z", "2400-12-31T00:00:00.000Z", "9999-12-31T23:59:59.999Z",
	} {
		at, err := time.Parse(layout, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(AppendTime(nil, at.UnixMilli())); got != text {
			t.Errorf("have %s, want %s", got, text)
		}
	}
	for ms := int64(-1e13); ms < 1e14; ms += 1e9 + 12345678 {
		want := time.UnixMilli(ms).UTC().Format(layout)
		if got := string(AppendTime(nil, ms)); got != want {
			t.Fatalf("%d: have %s, want %s", ms, got, want)
		}
	}
	var w Writer
	w.Object("")
	w.Time("t", 0)
	w.End()
	if string(w.Bytes()) != `{"t":"1970-01-01T00:00:00.000Z"}` {
		t.Errorf("have %s", w.Bytes())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "offset 0: want '{'"},
		{"array", "[1]", "offset 0: want '{'"},
		{"unfinished", `{"a":1`, "offset 6: want ','"},
		{"two objects", `{} {}`, "offset 3: text behind the object"},
		{"trailing comma", `{"a":1,}`, `offset 7: want '"'`},
		{"duplicate", `{"a":1,"a":2}`, "offset 7: duplicate key"},
		{"duplicate behind an escape", `{"a":1,"\u0061":2}`, "offset 7: duplicate key"},
		{"nan", `{"a":NaN}`, "offset 5: want a value"},
		{"infinity", `{"a":-Infinity}`, "offset 6: want a digit"},
		{"leading zero", `{"a":01}`, "offset 6: want ','"},
		{"bare dot", `{"a":1.}`, "offset 7: want a digit"},
		{"control", "{\"a\":\"\x01\"}", "offset 6: control character in a string"},
		{"bad utf-8", "{\"a\":\"\xff\"}", "offset 6: string is not UTF-8"},
		{"bad escape", `{"a":"\x"}`, "offset 6: bad escape"},
		{"short escape", `{"a":"\u12"}`, "offset 6: bad escape"},
		{"nul", "{\x00}", `offset 1: want '"'`},
		{"deep", `{"a":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + "}", "offset 13: nested too deep"},
		{"many keys", manyKeys(MaxKeys + 1), "too many keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Parse([]byte(tt.text), nil)
			var se *SyntaxError
			if !errors.As(err, &se) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("have %v, want %s", err, tt.want)
			}
			if strings.HasPrefix(tt.name, "duplicate") != errors.Is(err, ErrDuplicateKey) {
				t.Errorf("errors.Is(ErrDuplicateKey) is wrong for %v", err)
			}
		})
	}
	if err := Parse([]byte(manyKeys(MaxKeys)), nil); err != nil {
		t.Errorf("%d keys: %v", MaxKeys, err)
	}
}

func manyKeys(n int) string {
	var w Writer
	w.Object("")
	for i := range n {
		w.Int("k"+strings.Repeat("x", i), int64(i))
	}
	w.End()
	return string(w.Bytes())
}

func TestValues(t *testing.T) {
	text := `{"s":"\ud83d\ude00\ud83dx\/\b\f\n\r\t\u00e9","i":-3,"u":3,"f":2.5e3,"big":1e999,"o":{"x":1,"x2":[{}]}}`
	got := map[string]bool{}
	err := Parse([]byte(text), func(k string, v Value) error {
		got[k] = true
		if string(v.Raw) != text[v.Offset:v.Offset+len(v.Raw)] {
			t.Errorf("%s: Raw is not at Offset", k)
		}
		switch k {
		case "s":
			if s, err := v.Str(); err != nil || s != "😀\uFFFDx/\b\f\n\r\té" {
				t.Errorf("s = %q, %v", s, err)
			}
			if _, err := v.Int(); err == nil {
				t.Error("a string read as a number")
			}
		case "i":
			if n, err := v.Int(); err != nil || n != -3 {
				t.Errorf("i = %d, %v", n, err)
			}
			if _, err := v.Uint(); err == nil {
				t.Error("-3 read as unsigned")
			}
		case "u":
			if n, err := v.Uint(); err != nil || n != 3 {
				t.Errorf("u = %d, %v", n, err)
			}
		case "f":
			if f, err := v.Float(); err != nil || f != 2500 {
				t.Errorf("f = %v, %v", f, err)
			}
			if _, err := v.Int(); err == nil {
				t.Error("2.5e3 read as a whole number")
			}
		case "big":
			if _, err := v.Float(); err == nil {
				t.Error("1e999 read as a number")
			}
		case "o":
			return v.Object(func(k string, inner Value) error {
				got["o."+k] = true
				if string(inner.Raw) != text[inner.Offset:inner.Offset+len(inner.Raw)] {
					t.Errorf("o.%s: Raw is not at Offset", k)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil || len(got) != 8 {
		t.Errorf("visited %v, %v", got, err)
	}
	stop := errors.New("stop")
	if err := Parse([]byte(text), func(string, Value) error { return stop }); err != stop {
		t.Errorf("visit's error came back as %v", err)
	}
}

// FuzzParse: what Parse takes, encoding/json takes too and reads the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":"x\u00e9","m":{"q":[1,2,{}]}}`, `{"a":-0.5e+7}`, ` {"a" : null } `, `{"a":1,"a":2}`, "{\"\\ud800\":1}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		keys := map[string]string{}
		err := Parse(b, func(k string, v Value) error {
			keys[k] = string(v.Raw)
			if v.Kind == String {
				s, err := v.Str()
				var want string
				if err != nil || json.Unmarshal(v.Raw, &want) != nil || s != want {
					t.Errorf("%q: string %q, encoding/json %q", v.Raw, s, want)
				}
			}
			return nil
		})
		if err != nil {
			return
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%q: taken here, refused by encoding/json: %v", b, err)
		}
		if len(m) != len(keys) {
			t.Errorf("%q: %d keys here, %d there", b, len(keys), len(m))
		}
	})
}
