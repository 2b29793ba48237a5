// Package fmt formats text as the standard package of that name does: as much
// of it as messages and errors need, and no reflection. The standard one brings
// some 120 kB into a program of 2 MB.
//
// The verbs are %s %q %v %d %x %o %f %g %w and %%, with width, precision and the
// flags - 0 #. An operand is a string, an error, a Stringer, a []byte, a bool or
// a number of a predeclared type; anything else shows as %!v(?). A test of the
// tree holds every call to that.
package fmt

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Stringer is what a type has that knows how it is written.
type Stringer interface{ String() string }

// Sprintf formats.
func Sprintf(format string, a ...any) string { return string(Appendf(nil, format, a...)) }

// Fprintf formats and writes to w, at once.
func Fprintf(w io.Writer, format string, a ...any) (n int, err error) {
	return w.Write(Appendf(nil, format, a...))
}

// Sprint is what %v makes of v.
func Sprint(v any) string { return string(verb{char: 'v', precision: -1}.append(nil, v)) }

// Errorf makes an error whose text is formatted. errors.Is and errors.As see what
// stands for each %w.
func Errorf(format string, a ...any) error {
	text := Sprintf(format, a...)
	var causes []error
	for i, at := 0, 0; ; i++ {
		v, _, next, ok := cut(format, at)
		if !ok {
			break
		}
		if at = next; v.char == '%' {
			i--
		} else if v.char == 'w' && i < len(a) {
			if err, ok := a[i].(error); ok {
				causes = append(causes, err)
			}
		}
	}
	switch len(causes) {
	case 0:
		return errors.New(text)
	case 1:
		return &wrapped{text, causes[0]}
	}
	return &joined{text, causes}
}

type wrapped struct {
	text  string
	cause error
}

func (e *wrapped) Error() string { return e.text }
func (e *wrapped) Unwrap() error { return e.cause }

type joined struct {
	text   string
	causes []error
}

func (e *joined) Error() string   { return e.text }
func (e *joined) Unwrap() []error { return e.causes }

// Appendf appends what Sprintf gives.
func Appendf(dst []byte, format string, a ...any) []byte {
	at := 0
	for {
		v, plain, next, ok := cut(format, at)
		dst = append(dst, plain...)
		if !ok {
			break
		}
		at = next
		switch {
		case v.char == '%':
			dst = append(dst, '%')
		case len(a) == 0:
			dst = append(append(append(dst, "%!"...), v.char), "(MISSING)"...)
		default:
			dst, a = v.append(dst, a[0]), a[1:]
		}
	}
	if len(a) > 0 {
		dst = append(dst, "%!(EXTRA)"...)
	}
	return dst
}

// verb is one directive of a format.
type verb struct {
	char              byte
	left, zero, sharp bool
	width, precision  int // precision -1: none given
}

// cut finds the first verb of format from at on: what stands before it, and where
// the text after it begins.
func cut(format string, at int) (v verb, plain string, next int, ok bool) {
	i := strings.IndexByte(format[at:], '%')
	if i < 0 {
		return v, format[at:], len(format), false
	}
	plain, i = format[at:at+i], at+i+1
	for ; i < len(format); i++ {
		switch format[i] {
		case '-':
			v.left = true
			continue
		case '0':
			v.zero = true
			continue
		case '#':
			v.sharp = true
			continue
		}
		break
	}
	v.width, i = number(format, i)
	v.precision = -1
	if i < len(format) && format[i] == '.' {
		v.precision, i = number(format, i+1)
	}
	if i == len(format) {
		v.char = '!' // a percent sign at the end of the format
		return v, plain, i, true
	}
	v.char = format[i]
	return v, plain, i + 1, true
}

// number reads digits; a million is as wide as anything gets.
func number(s string, i int) (n, end int) {
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = min(n*10+int(s[i]-'0'), 1_000_000)
	}
	return n, i
}

// append writes one operand.
func (v verb) append(dst []byte, a any) []byte {
	switch v.char {
	case 's', 'v', 'q', 'w':
		switch x := a.(type) {
		case error:
			return v.text(dst, x.Error())
		case Stringer:
			return v.text(dst, x.String())
		case nil:
			return v.text(dst, "<nil>")
		}
	}
	switch x := a.(type) {
	case string:
		return v.text(dst, x)
	case []byte:
		return v.text(dst, string(x))
	case bool:
		return v.text(dst, strconv.FormatBool(x))
	case float64:
		return v.float(dst, x, 64)
	case float32:
		return v.float(dst, float64(x), 32)
	}
	if n, negative, ok := integer(a); ok && v.char != '!' {
		return v.integer(dst, n, negative)
	}
	return append(append(append(dst, "%!"...), v.char), "(?)"...)
}

// integer is the absolute value of an operand that is a whole number.
func integer(a any) (n uint64, negative, ok bool) {
	var i int64
	switch x := a.(type) {
	case int:
		i = int64(x)
	case int8:
		i = int64(x)
	case int16:
		i = int64(x)
	case int32:
		i = int64(x)
	case int64:
		i = x
	case uint:
		return uint64(x), false, true
	case uint8:
		return uint64(x), false, true
	case uint16:
		return uint64(x), false, true
	case uint32:
		return uint64(x), false, true
	case uint64:
		return x, false, true
	case uintptr:
		return uint64(x), false, true
	default:
		return 0, false, false
	}
	if i < 0 {
		return -uint64(i), true, true
	}
	return uint64(i), false, true
}

func (v verb) float(dst []byte, x float64, bits int) []byte {
	format := byte('g')
	if v.char == 'f' {
		format = 'f'
		if v.precision < 0 {
			v.precision = 6
		}
	}
	return v.pad(dst, strconv.FormatFloat(x, format, v.precision, bits))
}

func (v verb) integer(dst []byte, n uint64, negative bool) []byte {
	base, prefix := 10, ""
	switch {
	case v.char == 'x' && v.sharp:
		base, prefix = 16, "0x"
	case v.char == 'x':
		base = 16
	case v.char == 'o':
		base = 8
	}
	digits := strconv.FormatUint(n, base)
	if negative {
		prefix = "-" + prefix
	}
	if v.zero && !v.left {
		digits = strings.Repeat("0", max(0, v.width-len(prefix)-len(digits))) + digits
	}
	return v.pad(dst, prefix+digits)
}

// text writes a string as the verb wants it.
func (v verb) text(dst []byte, s string) []byte {
	if v.char == 'x' {
		b := make([]byte, 0, 2*len(s))
		for i := range len(s) {
			const digits = "0123456789abcdef"
			b = append(b, digits[s[i]>>4], digits[s[i]&15])
		}
		return v.pad(dst, string(b))
	}
	if v.precision >= 0 {
		n := 0
		for i := range s {
			if n++; n > v.precision {
				s = s[:i]
				break
			}
		}
	}
	if v.char == 'q' {
		s = strconv.Quote(s)
	}
	return v.pad(dst, s)
}

// pad fills up to the width, counted in characters.
func (v verb) pad(dst []byte, s string) []byte {
	fill := strings.Repeat(" ", max(0, v.width-utf8.RuneCountInString(s)))
	if v.left {
		return append(append(dst, s...), fill...)
	}
	return append(append(dst, fill...), s...)
}
