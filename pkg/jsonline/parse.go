package jsonline

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"vigil/pkg/fmt"
)

// Bounds of what Parse accepts.
const (
	MaxKeys  = 64 // in one object
	MaxDepth = 8  // nested values
)

// ErrDuplicateKey is reported (by errors.Is) when an object names a key twice.
var ErrDuplicateKey = errors.New("duplicate key")

// A SyntaxError says where the text stops being one JSON object.
type SyntaxError struct {
	Offset int // bytes from the start of the text given to Parse
	Text   string
	cause  error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.Text) }

// Unwrap gives ErrDuplicateKey where that was the fault.
func (e *SyntaxError) Unwrap() error { return e.cause }

// Kind is the type of a JSON value.
type Kind byte

// The kinds.
const (
	String Kind = iota + 1
	Number
	Bool
	Null
	Object
	Array
)

// Value is a member's value: its raw text, a part of the parsed line, valid as
// long as that is.
type Value struct {
	Kind   Kind
	Raw    []byte
	Offset int // of Raw in the text given to Parse
}

// Parse reads one object, with white space around it and nothing else, and
// calls visit for each member in order; visit's error ends the parse and is
// returned as it is. Errors of syntax are *SyntaxError. Nothing is allocated
// for values.
func Parse(b []byte, visit func(key string, v Value) error) error {
	p := parser{b: b}
	p.space()
	if err := p.object(visit); err != nil {
		return err
	}
	p.space()
	if p.i < len(b) {
		return p.fail("text behind the object")
	}
	return nil
}

// Object visits the members of a nested object as Parse does.
func (v Value) Object(visit func(key string, v Value) error) error {
	if v.Kind != Object {
		return v.want("an object")
	}
	p := parser{b: v.Raw, base: v.Offset}
	return p.object(visit)
}

// Str gives a string's text.
func (v Value) Str() (string, error) {
	if v.Kind != String {
		return "", v.want("a string")
	}
	return unquote(v.Raw[1 : len(v.Raw)-1]), nil
}

// Int gives a whole number within int64.
func (v Value) Int() (int64, error) {
	if v.Kind == Number {
		if n, err := strconv.ParseInt(string(v.Raw), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.want("a whole number")
}

// Uint gives a whole number from 0 within uint64.
func (v Value) Uint() (uint64, error) {
	if v.Kind == Number {
		if n, err := strconv.ParseUint(string(v.Raw), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.want("a whole number from 0")
}

// Float gives a number. One too large for float64 is an error that wraps
// strconv.ErrRange.
func (v Value) Float() (float64, error) {
	if v.Kind != Number {
		return 0, v.want("a number")
	}
	f, err := strconv.ParseFloat(string(v.Raw), 64)
	if err != nil {
		return 0, &SyntaxError{v.Offset, "number out of range", strconv.ErrRange}
	}
	return f, nil
}

func (v Value) want(what string) error {
	return &SyntaxError{v.Offset, "want " + what, nil}
}

type parser struct {
	b     []byte
	i     int
	base  int
	depth int
}

func (p *parser) fail(text string) error { return &SyntaxError{p.base + p.i, text, nil} }

func (p *parser) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\t' || p.b[p.i] == '\n' || p.b[p.i] == '\r') {
		p.i++
	}
}

// peek is the next byte that is not white space; 0 at the end (a NUL in the
// text is refused by whoever looks at it).
func (p *parser) peek() byte {
	p.space()
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *parser) expect(c byte) error {
	if p.peek() != c {
		return p.fail("want '" + string(rune(c)) + "'")
	}
	p.i++
	return nil
}

func (p *parser) object(visit func(string, Value) error) error {
	var seen [MaxKeys]string
	n := 0
	return p.list('{', '}', func() error {
		at := p.i
		if err := p.string(); err != nil {
			return err
		}
		key := unquote(p.b[at+1 : p.i-1])
		for _, k := range seen[:n] {
			if k == key {
				p.i = at
				return &SyntaxError{p.base + at, "duplicate key", ErrDuplicateKey}
			}
		}
		if n == MaxKeys {
			return p.fail("too many keys")
		}
		seen[n] = key
		n++
		if err := p.expect(':'); err != nil {
			return err
		}
		v, err := p.value()
		if err != nil || visit == nil {
			return err
		}
		return visit(key, v)
	})
}

// list reads left [element {, element}] right; element starts behind white
// space.
func (p *parser) list(left, right byte, element func() error) error {
	if err := p.expect(left); err != nil {
		return err
	}
	if p.depth++; p.depth > MaxDepth {
		return p.fail("nested too deep")
	}
	if p.peek() == right {
		p.i++
		p.depth--
		return nil
	}
	for {
		p.space()
		if err := element(); err != nil {
			return err
		}
		if p.peek() == right {
			p.i++
			p.depth--
			return nil
		}
		if err := p.expect(','); err != nil {
			return err
		}
	}
}

func (p *parser) value() (Value, error) {
	c := p.peek()
	at := p.i
	var kind Kind
	var err error
	switch {
	case c == '"':
		kind, err = String, p.string()
	case c == '-' || c >= '0' && c <= '9':
		kind, err = Number, p.number()
	case c == '{':
		kind, err = Object, p.object(nil)
	case c == '[':
		kind, err = Array, p.list('[', ']', func() error { _, err := p.value(); return err })
	case c == 't':
		kind, err = Bool, p.word("true")
	case c == 'f':
		kind, err = Bool, p.word("false")
	case c == 'n':
		kind, err = Null, p.word("null")
	default:
		return Value{}, p.fail("want a value")
	}
	return Value{kind, p.b[at:p.i], p.base + at}, err
}

func (p *parser) word(w string) error {
	if len(p.b)-p.i < len(w) || string(p.b[p.i:p.i+len(w)]) != w {
		return p.fail("want a value")
	}
	p.i += len(w)
	return nil
}

func (p *parser) digits() bool {
	at := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i > at
}

func (p *parser) is(c byte) bool {
	if p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) number() error {
	p.is('-')
	if !p.is('0') && !p.digits() {
		return p.fail("want a digit")
	}
	if p.is('.') && !p.digits() {
		return p.fail("want a digit")
	}
	if p.is('e') || p.is('E') {
		if !p.is('+') {
			p.is('-')
		}
		if !p.digits() {
			return p.fail("want a digit")
		}
	}
	return nil
}

func (p *parser) string() error {
	if err := p.expect('"'); err != nil {
		return err
	}
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return nil
		case c < 0x20:
			return p.fail("control character in a string")
		case c == '\\':
			if err := p.escape(); err != nil {
				return err
			}
		case c < utf8.RuneSelf:
			p.i++
		default:
			r, n := utf8.DecodeRune(p.b[p.i:])
			if r == utf8.RuneError && n == 1 {
				return p.fail("string is not UTF-8")
			}
			p.i += n
		}
	}
	return p.fail("string without end")
}

func (p *parser) escape() error {
	rest := p.b[p.i+1:]
	if len(rest) == 0 {
		return p.fail("string without end")
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.i += 2
		return nil
	case 'u':
		if _, ok := hex4(rest[1:]); ok {
			p.i += 6
			return nil
		}
	}
	return p.fail("bad escape")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	return rune(n), err == nil
}

// unquote resolves the escapes of a string that the parser has checked. A lone
// surrogate becomes U+FFFD.
func unquote(b []byte) string {
	esc := false
	for _, c := range b {
		esc = esc || c == '\\'
	}
	if !esc {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(b[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if len(b)-i > 6 && b[i+1] == '\\' && b[i+2] == 'u' {
					low, ok = hex4(b[i+3:])
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}
