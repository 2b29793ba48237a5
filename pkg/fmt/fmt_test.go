package fmt

import (
	"bytes"
	"errors"
	stdfmt "fmt"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"
)

// operands are what messages are made of, and the edges of each kind.
var operands = []any{
	"", "plain", "two\nlines \"quoted\" \x00\xff", "größer\u2028als", []byte("\x00bytes\xfe"), []byte(nil),
	errors.New("no such thing"), syscall.ENOENT, 1500 * time.Millisecond, fs.FileMode(0o644), nil,
	true, false, 0.1, -2.5e-7, 1e6, 1e21, math.MaxFloat64, math.Inf(1), math.NaN(), float32(0.1),
	0, 7, -7, 0o644, int8(-128), int16(-3), int32(5), int64(math.MinInt64),
	uint(9), uint8(255), uint16(1), uint32(0o20), uint64(math.MaxUint64), uintptr(4096),
}

// agreed says which verbs are promised for an operand.
func agreed(a any) string {
	switch a.(type) {
	case nil:
		return "v"
	case error, stdfmt.Stringer:
		return "vsq"
	case string:
		return "vsqx"
	case []byte: // whose %v would be a list of numbers
		return "sqx"
	case bool:
		return "v"
	case float64, float32:
		return "vgf"
	}
	return "vdxo"
}

// TestLikeTheStandardOne: every verb with every operand, and widths, precisions and
// flags where they mean something.
func TestLikeTheStandardOne(t *testing.T) {
	for _, a := range operands {
		for _, char := range agreed(a) {
			modifiers := []string{"", "5", "-5", "20", "-20"}
			switch char {
			case 's', 'q':
				modifiers = append(modifiers, ".3", ".40", "-8.2", "8.0")
			case 'd', 'o':
				modifiers = append(modifiers, "04", "016", "-04")
			case 'x':
				if !strings.Contains(agreed(a), "s") {
					modifiers = append(modifiers, "016", "#")
				}
			case 'g', 'f':
				modifiers = append(modifiers, ".3")
			}
			for _, m := range modifiers {
				format := "a %" + m + string(char) + " z"
				if have, want := Sprintf(format, a), stdfmt.Sprintf(format, a); have != want {
					t.Errorf("%s of %#v: %q, want %q", format, a, have, want)
				}
			}
		}
		if _, list := a.([]byte); list {
			continue
		}
		if have, want := Sprint(a), stdfmt.Sprint(a); have != want {
			t.Errorf("Sprint(%#v): %q, want %q", a, have, want)
		}
	}
}

func TestWhole(t *testing.T) {
	for _, tt := range []struct {
		format string
		a      []any
	}{
		{"", nil},
		{"no verb", nil},
		{"100%%", nil},
		{"%s: %d%% of %q", []any{"a", 5, "b"}},
		{"%s%s", []any{"a", "b"}},
		{".tmp.%d.%d.%s", []any{12, uint32(3), "x"}},
		{"  %-4d %s\n", []any{100, "usage"}},
	} {
		if have, want := Sprintf(tt.format, tt.a...), stdfmt.Sprintf(tt.format, tt.a...); have != want {
			t.Errorf("%q: %q, want %q", tt.format, have, want)
		}
	}
}

// TestMistakes: what a test of the tree keeps out of programs is seen when it comes to that.
func TestMistakes(t *testing.T) {
	type odd int
	for _, tt := range []struct {
		have, want string
	}{
		{Sprintf("%s"), "%!s(MISSING)"},
		{Sprintf("a", 1), "a%!(EXTRA)"},
		{Sprintf("%d", odd(1)), "%!d(?)"},
		{Sprintf("50%", 1), "50%!!(?)"},
	} {
		if tt.have != tt.want {
			t.Errorf("%q, want %q", tt.have, tt.want)
		}
	}
}

func TestErrorf(t *testing.T) {
	plain := Errorf("%s: %v", "a", fs.ErrNotExist)
	if plain.Error() != "a: file does not exist" || errors.Unwrap(plain) != nil {
		t.Errorf("%v wraps %v", plain, errors.Unwrap(plain))
	}
	one := Errorf("100%%: %d: %w", 1, fs.ErrNotExist)
	if one.Error() != "100%: 1: file does not exist" || errors.Unwrap(one) != fs.ErrNotExist {
		t.Errorf("%v wraps %v", one, errors.Unwrap(one))
	}
	two := Errorf("%w: %s: %w", fs.ErrInvalid, "x", syscall.EMFILE)
	if two.Error() != "invalid argument: x: too many open files" || !errors.Is(two, fs.ErrInvalid) || !errors.Is(two, syscall.EMFILE) {
		t.Errorf("%v", two)
	}
	if errors.Is(two, fs.ErrNotExist) {
		t.Error("wraps what it was not given")
	}
}

func TestFprintf(t *testing.T) {
	var b bytes.Buffer
	if n, err := Fprintf(&b, "%s\n", "text"); n != 5 || err != nil || b.String() != "text\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}

// FuzzFormat: no format makes it panic, and one that the standard package likes
// comes out the same.
func FuzzFormat(f *testing.F) {
	f.Add("%s: %d of %-8q", "text", int64(-5))
	f.Add("%%%v%", "", int64(0))
	f.Add("%.40s %04o", "a\xffb", int64(8))
	f.Fuzz(func(t *testing.T, format, text string, n int64) {
		like := true
		for i, at := 0, 0; ; i++ {
			v, _, next, ok := cut(format, at)
			if !ok {
				like = like && i == 2
				break
			}
			if at = next; v.width > 1000 {
				return // gigabytes of padding
			}
			wanted := []string{"sqv", "dv"}
			like = like && i < 2 && strings.IndexByte(wanted[i], v.char) >= 0 && !v.sharp && !v.zero && (i == 0 || v.precision < 0)
		}
		have := Sprintf(format, text, n)
		if want := stdfmt.Sprintf(format, text, n); like && have != want {
			t.Errorf("%q: %q, want %q", format, have, want)
		}
	})
}
